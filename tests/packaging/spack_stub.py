"""Runs the Spack recipe without Spack: spack_stub.py CHECKOUT

Stand-ins for the names that Spack gives to recipes record what the recipe declares, and answer what its methods ask.
The script checks that
- every CMake option that the recipe sets exists;
- the recipe sets every option of CMakeLists.txt, but for those that LEFT_ALONE names;
- every library that cmake/VjepaDependencies.cmake looks for is a dependency, with at least the version asked for;
- arguments of CMake follow the variants;
- every name that the recipe uses is imported from where Spack has it;
- Spack knows its dependencies and their variants.
What Spack has is in the lists below, which were copied from the sources of Spack 1.0 (package API v2.0; CMake packages;
the packages' recipes). It does not check that the concretizer finds a solution, nor that Spack builds it.
"""

import dis
import pathlib
import re
import sys
import types

checkout = pathlib.Path(sys.argv[1])
# Options that only developers set, or for which Spack has its own means (it writes module files itself).
LEFT_ALONE = {'VJEPA_WERROR', 'VJEPA_PORTABLE', 'VJEPA_CUDA_EMULATED', 'VJEPA_SANITIZE', 'VJEPA_MODULES', 'VJEPA_FIXTURES'}
# Dependencies: their names in CMake, and in Spack.
NAMES = {'MPI': 'mpi', 'HDF5': 'hdf5', 'LAPACK': 'lapack', 'FFMPEG': 'ffmpeg', 'YAML': 'libyaml', 'JANSSON': 'jansson', 'XXHASH': 'xxhash',
         'ZLIB': 'zlib-api', 'TURBOJPEG': 'libjpeg-turbo', 'SECCOMP': 'libseccomp', 'CMOCKA': 'cmocka', 'RANDOM123': 'random123',
         'PkgConfig': 'pkgconfig'}
OF_THE_COMPILER = {'OpenMP', 'Threads'}
# What Spack has: names in spack.package; names beside CMakePackage; names in a recipe's module when it is built with
# CMake; packages and virtual packages, with the variants that recipes may ask for.
API = {'variant', 'version', 'depends_on', 'conflicts', 'run_after', 'join_path', 'working_dir', 'find', 'Executable'}
OF_CMAKE = {'CMakePackage', 'generator'}
IN_A_BUILD = {'ctest', 'cmake', 'ninja'}
PACKAGES = {'c': (), 'cxx': (), 'mpi': (), 'lapack': (), 'blas': (), 'scalapack': (), 'zlib-api': (), 'pkgconfig': (), 'cmake': (), 'ninja': (),
            'python': (), 'py-h5py': (), 'py-pillow': (), 'hdf5': ('mpi',), 'ffmpeg': (), 'libyaml': (), 'jansson': (), 'xxhash': (),
            'random123': (), 'libjpeg-turbo': (), 'libseccomp': (), 'onednn': ('cpu_runtime',), 'cmocka': (), 'cuda': ()}

declared = {'variant': [], 'depends_on': [], 'conflicts': [], 'version': [], 'generator': [], 'run_after': []}


def directive(kind):
    def record(*arguments, **options):
        declared[kind].append((arguments, options))
        return lambda function: function
    return record


class Prefix(str):
    def __getattr__(self, name):
        return Prefix(f'{self}/{name}')


class Spec:
    def __init__(self, variants, name='vjepa'):
        self.values, self.prefix = variants, Prefix(f'/spack/{name}')
        self.mpicc = '/spack/mpi/bin/mpicc'
        self.variants = {name: types.SimpleNamespace(value=value) for name, value in variants.items()}

    def satisfies(self, question):
        assert question[0] in '+~' and question[1:] in self.values, f'the recipe asks for {question}'
        return bool(self.values[question[1:]]) == (question[0] == '+')

    def __getitem__(self, name):
        assert name in dependencies, f'the recipe asks for {name}, on which it does not depend'
        return Spec({}, name)


class Package:
    prefix = Prefix('/spack/vjepa')

    @staticmethod
    def define(name, value):
        if isinstance(value, bool):
            value = 'ON' if value else 'OFF'
            return f'-D{name}:BOOL={value}'
        return f'-D{name}:STRING={";".join(value) if isinstance(value, list) else value}'

    def define_from_variant(self, name, variant):
        return self.define(name, bool(self.spec.values[variant]))


class CudaPackage:
    pass


def module(name, **names):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(names)


def not_called(*arguments, **options):
    raise AssertionError('called while the recipe is read, or its arguments asked for')


directives = {kind: directive(kind) for kind in declared}
offered = {name: directives.get(name, not_called) for name in API}
module('spack')
module('spack.package', **{**offered, 'join_path': lambda *parts: '/'.join(parts)})
for name in ('spack_repo', 'spack_repo.builtin', 'spack_repo.builtin.build_systems'):
    module(name)
module('spack_repo.builtin.build_systems.cmake', CMakePackage=Package, generator=directives['generator'])
module('spack_repo.builtin.build_systems.cuda', CudaPackage=CudaPackage)

path = checkout / 'modules/spack/spack_repo/vjepa/packages/vjepa/package.py'
recipe = {'__file__': str(path), '__name__': 'package'}
code = compile(path.read_text(), path, 'exec')
exec(code, recipe)
assert recipe['CHECKOUT'] == checkout.resolve(), f'the recipe takes {recipe["CHECKOUT"]} for the checkout'


def globals_of(code):
    """Return the global names that this code, and the functions in it, look up when they run."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname == 'LOAD_GLOBAL'}
    return names.union(*(globals_of(c) for c in code.co_consts if isinstance(c, types.CodeType)))


unknown = globals_of(code) - set(recipe) - set(dir(__builtins__)) - IN_A_BUILD
assert not unknown, f'nobody has looked whether recipes have {unknown}'
assert re.search(r'^  api: v2\.0$', (path.parents[2] / 'repo.yaml').read_text(), re.M), 'API is of another version'
variants = {arguments[0]: options['default'] for arguments, options in declared['variant']}
dependencies = {}
for (what, *_), options in declared['depends_on']:
    name, _, version, rest = re.match(r'([a-z0-9-]+)(@([0-9.]+):)?(.*)', what).groups()
    dependencies[name] = version or dependencies.get(name)
    assert name in PACKAGES, f'nobody has looked whether Spack has a package {name}'
    for variant in re.findall(r'[+~]?([a-z_]+)(?:=\w+)?', rest):
        assert variant in PACKAGES[name], f'nobody has looked whether {name} has a variant {variant}'


def arguments(**chosen):
    package = recipe['Vjepa']()
    package.spec = Spec({**variants, 'cuda': False, 'cuda_arch': (), **chosen})
    return {name: value for name, value in (re.match(r'-D(\w+):(?:BOOL|STRING)=(.*)', a).groups() for a in package.cmake_args())}


cmake = {file.name: file.read_text() for file in [checkout / 'CMakeLists.txt', *(checkout / 'cmake').glob('*.cmake')]}
text = '\n'.join(cmake.values())
options = set(re.findall(r'(?:option\(|set\()(VJEPA_[A-Z0-9_]+) [^\n]*', '\n'.join(
    line for line in text.splitlines() if 'option(' in line or ' CACHE ' in line)))
known = options | {'BUILD_SHARED_LIBS', 'HDF5_ROOT', 'MPI_C_COMPILER', 'VJEPA_NVCC'}
default, full = arguments(), arguments(**{name: True for name in variants}, cuda=True, cuda_arch=('80', '90a'))
for name in {**default, **full}:
    assert name in known, f'the recipe sets {name}, which CMake does not know'
for name in options - set(full) - LEFT_ALONE:
    raise AssertionError(f'CMake has the option {name}; the recipe neither sets it nor is it left alone on purpose')
switches = {'seccomp': 'VJEPA_SECCOMP', 'onednn': 'VJEPA_ONEDNN', 'cblas': 'VJEPA_CBLAS', 'tests': 'VJEPA_TESTS',
            'scalapack': 'VJEPA_SCALAPACK', 'shared': 'BUILD_SHARED_LIBS'}
assert set(switches) == set(variants), f'variants are {sorted(variants)}'
for variant, option in switches.items():
    for value in (True, False):
        got = arguments(**{variant: value})[option]
        assert got == ('ON' if value else 'OFF'), f'{variant}={value} gives {option}={got}'
assert default['VJEPA_CUDA'] == 'OFF' and full['VJEPA_CUDA'] == 'ON'
assert full['VJEPA_CUDA_ARCHITECTURES'] == '80-real;90a-real;80-virtual', full

needed = {}
for name, version in re.findall(r'find_package\((\w+)(?: ([0-9.]+))?', cmake['VjepaDependencies.cmake']):
    needed[name] = version
for name, rest in re.findall(r'pkg_check_modules\((\w+)([^)]*)\)', cmake['VjepaDependencies.cmake']):
    version = re.search(r'>=([0-9.]+)', rest)
    needed[name] = version[1] if version else ''
for name in re.findall(r'find_path\((\w+)_INCLUDE', cmake['VjepaDependencies.cmake']):
    needed[name] = ''
assert len(needed) > 10, needed
for name, version in needed.items():
    if name in OF_THE_COMPILER:
        continue
    assert name in NAMES, f'CMake looks for {name}; nobody has told this test what Spack calls it'
    assert NAMES[name] in dependencies, f'CMake looks for {name}; the recipe does not depend on {NAMES[name]}'
    assert not version or dependencies[NAMES[name]] == version, f'{name}: CMake wants {version}, the recipe {dependencies[NAMES[name]]}'
cmake_version = re.search(r'cmake_minimum_required\(VERSION ([0-9.]+)', text)[1]
assert dependencies['cmake'] == cmake_version, f'CMake {cmake_version} is needed, the recipe says {dependencies["cmake"]}'
print(f'{len(dependencies)} dependencies, {len(full)} CMake arguments, {len(variants)} variants')
