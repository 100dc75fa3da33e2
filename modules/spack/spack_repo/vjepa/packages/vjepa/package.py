"""Spack recipe of vjepa, in a repository of its own (Spack 1.0 and newer):

    spack repo add CHECKOUT/modules/spack/spack_repo/vjepa
    spack install vjepa                                         # CPUs
    spack install vjepa +cuda cuda_arch=80,90a +scalapack
    spack install --test=root vjepa +tests

It builds branch main as committed in the checkout that contains this file. To build uncommitted changes:
spack develop --path CHECKOUT vjepa@main
"""

import pathlib

from spack_repo.builtin.build_systems.cmake import CMakePackage, generator
from spack_repo.builtin.build_systems.cuda import CudaPackage

from spack.package import *

CHECKOUT = pathlib.Path(__file__).resolve().parents[6]


class Vjepa(CMakePackage, CudaPackage):
    """V-JEPA: self-supervised learning from video as an HPC job, in C with MPI and parallel HDF5."""

    homepage = "https://arxiv.org/abs/2404.08471"
    git = CHECKOUT.as_uri()

    version("main", branch="main")

    variant("shared", default=False, description="libvjepa.so in place of libvjepa.a")
    variant("seccomp", default=True, description="Processes that decode media may make no system call they do not need")
    variant("onednn", default=False, description="oneDNN as an alternative to the own matrix products")
    variant("cblas", default=False, description="A BLAS as an alternative to the own matrix products")
    variant("scalapack", default=False, description="Analysis of features on all ranks")
    variant("tests", default=False, description="Build the tests")

    depends_on("c", type="build")
    depends_on("cxx", type="build", when="+cuda")
    depends_on("cmake@3.25:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")

    depends_on("mpi")
    depends_on("hdf5@1.10.5: +mpi")
    depends_on("lapack")
    depends_on("ffmpeg@4.4:")
    depends_on("libyaml")
    depends_on("jansson")
    depends_on("xxhash")
    depends_on("random123")
    depends_on("zlib-api")
    depends_on("libjpeg-turbo@2.1:")
    depends_on("libseccomp@2.5:", when="+seccomp")
    depends_on("onednn cpu_runtime=omp", when="+onednn")
    depends_on("blas", when="+cblas")
    depends_on("scalapack", when="+scalapack")
    depends_on("cmocka", when="+tests")
    depends_on("python@3.8:", type=("build", "test"), when="+tests")
    depends_on("py-h5py", type=("build", "test"), when="+tests")
    depends_on("py-pillow", type=("build", "test"), when="+tests")

    # The CUDA package brings the compiler and cuBLASLt. The machine needs a driver for CUDA 13.
    depends_on("cuda@13:", when="+cuda")
    conflicts("cuda_arch=none", when="+cuda", msg="+cuda needs cuda_arch, e.g. 80 (A100) or 90a (H100)")
    for too_old in ("72", "75"):
        conflicts(f"cuda_arch={too_old}", when="+cuda", msg="the kernels need an A100 (80) or newer")

    generator("ninja")

    def cmake_args(self):
        args = [
            self.define("VJEPA_CUDA", "ON" if self.spec.satisfies("+cuda") else "OFF"),
            self.define("VJEPA_SCALAPACK", "ON" if self.spec.satisfies("+scalapack") else "OFF"),
            self.define("VJEPA_SIMGRID", "OFF"),  # a model of networks, not needed to train
            self.define("HDF5_ROOT", self.spec["hdf5"].prefix),
            self.define("MPI_C_COMPILER", self.spec["mpi"].mpicc),
            self.define_from_variant("BUILD_SHARED_LIBS", "shared"),
            self.define_from_variant("VJEPA_SECCOMP", "seccomp"),
            self.define_from_variant("VJEPA_ONEDNN", "onednn"),
            self.define_from_variant("VJEPA_CBLAS", "cblas"),
            self.define_from_variant("VJEPA_TESTS", "tests"),
        ]
        if self.spec.satisfies("+cuda"):
            arch = [f"{a}-real" for a in self.spec.variants["cuda_arch"].value]
            args.append(self.define("VJEPA_CUDA_ARCHITECTURES", arch + ["80-virtual"]))
            args.append(self.define("VJEPA_NVCC", self.spec["cuda"].prefix.bin.nvcc))
        return args

    def setup_run_environment(self, env):
        env.prepend_path("HDF5_PLUGIN_PATH", join_path(self.prefix.lib, "vjepa", "hdf5-plugins"))
        if self.spec.satisfies("+cuda"):
            # vjepa loads this library at run time, and only where there is a GPU.
            env.set("VJEPA_CUBLASLT", join_path(self.spec["cuda"].prefix.lib64, "libcublasLt.so.13"))

    def check(self):
        # Run only the tests that take seconds, in the build folder.
        with working_dir(self.build_directory):
            ctest("-L", "unit|parity", "--output-on-failure")

    @run_after("install")
    def check_install(self):
        Executable(join_path(self.prefix.bin, "vjepa-pretrain"))("--version")

    def test_parity(self):
        """compare the installed library's numbers with those of an independent implementation"""
        fixtures = find(join_path(self.prefix.share, "vjepa", "parity"), "*.h5")
        Executable(join_path(self.prefix.bin, "vjepa-parity"))(*fixtures)
