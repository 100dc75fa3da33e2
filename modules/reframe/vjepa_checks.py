"""ReFrame suite (4.6 and newer) that checks an installation of vjepa. It needs no source code:

    reframe -C modules/reframe/site_example.py -c modules/reframe/vjepa_checks.py -S vjepa_home=PREFIX -r
    reframe ... -S modules=vjepa -r                           # with the installed module in place of vjepa_home
    reframe ... -t smoke -r                                   # smoke, parity, restart or scaling alone
    reframe ... -n VjepaScaling -P ranks=1,2,4,8,16 -r        # scaling over these numbers of ranks

The suite makes its own data: 24 small videos of moving waves. ReFrame records the speed, and judges it where the site
gives references (VjepaScaling.reference).
"""

import csv
import json
import math
import os

import reframe as rfm
import reframe.utility.sanity as sn

CONFIG = """\
# A model small enough for a minute on any machine.
run: {dir: run, seed: 7}
pack: {lists: [list.csv], store: train.clips, frames: 4, step: 2, short_side: 36}
data: {train: [train.clips], frames: 4, crop: 32, crop_scale: [0.5, 1.0], threads: 1, read_ahead: 2}
model: {size: custom, width: 48, depth: 2, heads: 3, patch: 8, tubelet: 2, init: fan_in}
predictor: {width: 24, depth: 2, heads: 3}
mask: {cut: group, group: 6, generators: [{kind: tube, ratio: 0.5}]}
train: {batch: 12, microbatch: 2, steps_per_epoch: 8, epochs: 3}
checkpoint: {every: 5, keep: 3}
log: {print_every: 4}
"""
STEPS = 24


class Vjepa(rfm.RunOnlyRegressionTest, pin_prefix=True):
    """Base of all tests: it finds the programs, and gives each rank one core."""

    valid_systems = ['*']
    valid_prog_environs = ['*']
    vjepa_home = variable(str, value=os.getenv('VJEPA_HOME', ''))
    ranks = variable(int, value=2)
    time_limit = '10m'

    @run_after('setup')
    def place(self):
        self.num_tasks = self.ranks
        self.num_cpus_per_task = 1
        self.env_vars['OMP_NUM_THREADS'] = 1
        if self.vjepa_home:
            self.prerun_cmds += [f'export PATH="{self.vjepa_home}/bin:$PATH" VJEPA_HOME="{self.vjepa_home}"']

    def launched(self, command):
        """Return a line of the job script that starts `command` on all ranks."""
        self.job.num_tasks = self.num_tasks  # ReFrame itself sets it only when the job starts
        self.job.num_cpus_per_task = self.num_cpus_per_task
        return f'{self.job.launcher.run_command(self.job)} {command}'


class VjepaStore(Vjepa):
    """Packs the videos into a clip store, which the other tests read."""

    executable = 'vjepa-pack'
    executable_opts = ['tiny.yaml']

    @run_before('run')
    def make_videos(self):
        width, height, frames = 48, 36, 12
        rows = []
        for video in range(24):
            name = f'v{video:02}.y4m'
            with open(os.path.join(self.stagedir, name), 'wb') as out:
                out.write(f'YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C444\n'.encode())
                for t in range(frames):
                    out.write(b'FRAME\n')
                    for plane in range(3):
                        out.write(bytes(int(128 + 100 * math.sin(0.2 * (1 + video % 5) * x + 0.1 * (plane + 1) * y + 0.4 * t * (video % 3 - 1)))
                                        for y in range(height) for x in range(width)))
            rows.append([name, video % 3])
        with open(os.path.join(self.stagedir, 'list.csv'), 'w', newline='') as out:
            csv.writer(out).writerows([['path', 'motion']] + rows)
        with open(os.path.join(self.stagedir, 'tiny.yaml'), 'w') as out:
            out.write(CONFIG)

    @sanity_function
    def packed(self):
        return sn.assert_found(r'train\.clips: 24 clips from 24 files', self.stdout)


class VjepaTraining(Vjepa):
    """Base of the tests that train on the store."""

    store = fixture(VjepaStore, scope='environment')
    executable = 'vjepa-pretrain'

    @run_before('run')
    def use_store(self):
        folder = self.store.stagedir
        self.configured = f'"{folder}/tiny.yaml" --set data.train=[\\"{folder}/train.clips\\"]'
        self.executable_opts = [self.configured, '--set run.dir=run']


@rfm.simple_test
class VjepaSmoke(VjepaTraining):
    """A short pretraining ends, and its losses are finite in every step."""

    tags = {'smoke'}

    @sanity_function
    def trained(self):
        with open(os.path.join(self.stagedir, 'run', 'metrics.csv')) as metrics:
            rows = list(csv.DictReader(line for line in metrics if not line.startswith('#')))
        losses = [float(row['loss']) for row in rows]
        return sn.all([sn.assert_true(os.path.exists(os.path.join(self.stagedir, 'run', 'complete')), 'run/complete is missing'),
                       sn.assert_eq(len(losses), STEPS, 'metrics.csv has {0} rows, not {1}'),
                       sn.assert_true(all(math.isfinite(loss) for loss in losses), 'a loss is not finite')])


@rfm.simple_test
class VjepaParity(Vjepa):
    """The kernels for this processor reproduce the numbers of an independent implementation."""

    precision = parameter(['fp32', 'bf16'])
    tags = {'parity', 'smoke'}
    executable = 'vjepa-parity'
    ranks = 1

    @run_before('run')
    def choose(self):
        self.executable_opts = ['--precision', self.precision, '"$VJEPA_HOME"/share/vjepa/parity/*.h5']

    @sanity_function
    def all_passed(self):
        return sn.all([sn.assert_found(r'[1-9]\d* passed, 0 failed', self.stdout), sn.assert_not_found(r'FAIL', self.stdout)])


@rfm.simple_test
class VjepaRestart(VjepaTraining):
    """A run that is stopped after its first step and started again ends with the same bits as an uninterrupted run."""

    tags = {'restart'}

    @run_before('run')
    def stop_and_go_on(self):
        stopped = self.launched(f'vjepa-pretrain {self.configured} --set run.dir=stopped')
        self.prerun_cmds += [
            f'{stopped} --max-hours 0.0000001 || echo "stopped early: $?"',
            '[ ! -e stopped/complete ] && ls stopped/step_*.h5',
            stopped,
        ]
        self.postrun_cmds += [f'vjepa-inspect --compare run/step_{STEPS:08}.h5 stopped/step_{STEPS:08}.h5 && echo "the same bits"']

    @sanity_function
    def same(self):
        return sn.all([sn.assert_found(r'stopped early', self.stdout), sn.assert_found(r'the same bits', self.stdout)])


@rfm.simple_test
class VjepaScaling(Vjepa):
    """Weak scaling of the training step, with one clip per rank; -P ranks=... sets the numbers of ranks."""

    tags = {'scaling'}
    executable = 'vjepa-bench'
    config = variable(str, value='$VJEPA_HOME/share/vjepa/configs/quickstart.yaml')

    @run_before('run')
    def measure(self):
        self.executable_opts = ['step', f'"{self.config}"', '--json', '--repeats 3', '>bench.json']

    def report(self):
        with open(os.path.join(self.stagedir, 'bench.json')) as report:
            return json.load(report)

    @sanity_function
    def measured(self):
        report = self.report()
        return sn.all([sn.assert_eq(report['ranks'], self.ranks), sn.assert_gt(report['step_s']['median'], 0)])

    @performance_function('clips/s')
    def clips_per_second(self):
        report = self.report()
        return report['clips'] / report['step_s']['median']
