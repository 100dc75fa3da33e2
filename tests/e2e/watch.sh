#!/usr/bin/env bash
# Checks vjepa-report --watch --once on run folders in all states, whole and damaged, and that the terminal's screen is restored.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
export LC_ALL=C.UTF-8 COLUMNS=100 LINES=30
unset VJEPA_LEASE_S

shows() { # WORDS FOLDER...: the screen has the words
    local words=$1 status=0
    shift
    timeout 60 "$bin/vjepa-report" --watch --once "$@" >screen.log 2>screen.err || status=$?
    [[ $status == 0 ]] || fail "exit $status of $*: $(cat screen.err)"
    [[ ! -s screen.err ]] || fail "messages on standard error: $(cat screen.err)"
    grep -qE -- "$words" screen.log || fail "no '$words' in: $(cat screen.log)"
}

refused() { # WORDS ARGS...
    local words=$1 status=0
    shift
    timeout 60 "$bin/vjepa-report" "$@" >refused.log 2>&1 || status=$?
    [[ $status == 2 ]] || fail "exit $status, not 2: $*"
    grep -q -- "$words" refused.log || fail "no '$words' in: $(cat refused.log)"
}

# A real run, complete and stopped before its end.
make_store train.clips 40
pretrain 1 run --set train.stop_after=12 >/dev/null
shows 'run  complete' run
shows 'step 12 of 12  100\.0 %  █' run
shows 'checkpoint of step 12, [0-9.]+ (s|minutes) ago; failed 0; bad steps 0; roll-backs 0' run
shows 'loss 0\.' run
shows 'effective rank [0-9]' run
[[ $(wc -l <screen.log) -le 30 ]] || fail "the screen has more lines than the window: $(wc -l <screen.log)"
wide=$(python3 -c 'print(max(len(line.rstrip("\n")) for line in open("screen.log", encoding="utf-8")))')
[[ $wide -le 100 ]] || fail "a line of $wide characters in a window of 100"
LC_ALL=C shows 'step 12 of 12  100\.0 %  ####' run
LC_ALL=C grep -q '[^ -~]' screen.log && fail "not ASCII in the C locale"
TERM=dumb shows 'step 12 of 12  100\.0 %  ####' run

mkdir halted && touch halted/stop
pretrain 1 halted >/dev/null 2>&1 && fail "a run with a file stop is not stopped"
shows 'halted  stopped, last step .* ago; step [0-9]+: .*stop' halted

# States in which a quick run cannot be observed.
python3 - <<'PYTHON'
import os, time
columns = 'step,samples,loss,lr,grad_norm_encoder,effective_rank,skipped_steps,failed_checkpoints,clips_per_s,step_s,data_wait_s'
lease = ('host elsewhere\npid 7\nstarted 8\nboot another\nnamespace pid:[1]\njob 4711\nsince %s\ntoken 00000000000000aa\n'
         % time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() - 50000)))
config = 'train: {steps_per_epoch: 100, epochs: 300}\nlog: {rank_alarm: 8}\n'

def make(name, steps, metrics_age=0, held=True, lease_age=0, rank=lambda s: 50, tail='', loss=lambda s: '%g' % (1 + 1 / s),
         settings=config, wait=0.001, skipped=lambda s: 0):
    os.mkdir(name)
    now = time.time()
    if settings:
        open(name + '/config.yaml', 'w').write(settings)
    if held:
        open(name + '/lease', 'w').write(lease)
        os.utime(name + '/lease', (now - lease_age,) * 2)
    with open(name + '/metrics.csv', 'w') as f:
        f.write(columns + '\n')
        for s in range(1, steps + 1):
            f.write('%d,%d,%s,0.001,0.5,%s,%d,0,64,0.5,%g\n' % (s, 64 * s, loss(s), '%g' % rank(s) if s % 10 == 0 else '',
                                                             skipped(s), wait))
        f.write(tail)
    os.utime(name + '/metrics.csv', (now - metrics_age,) * 2)

make('going', 20000)
make('hung', 300, metrics_age=4000)
make('killed', 300, metrics_age=4000, lease_age=4000)
make('stopped', 300, held=False)
make('collapsed', 300, rank=lambda s: 60 / s)
make('lost', 300, loss=lambda s: '' if s > 280 else '1', skipped=lambda s: max(0, s - 280))
make('starved', 300, wait=0.25)
make('half', 300, tail='301,19264,0.5,0.0')
make('glued', 300, tail='301,19264,0.5,302,19328,1\nno row at all\n')
make('other', 300, settings='train: {a_setting_of_another_release: 1}\n')
make('bare', 300, settings=None)
os.mkdir('empty')
os.mkdir('foreign')
open('foreign/metrics.csv', 'wb').write(bytes(range(256)) * 100)
os.mkdir('control\033[2Jname')
PYTHON
shows 'going  running: process 7 on elsewhere, batch job 4711' going
shows 'step 20,000 of 30,000   66\.7 %' going
shows '0\.5 s a step, 64 clips/s; done in 83\.3 minutes, on [A-Z]' going
shows 'HUNG' hung
shows 'ALARM: no progress for 40[0-9][0-9] s' hung
shows 'ALARM: the job was killed: it was process 7' killed
shows 'stopped, last step [0-9]+ s ago' stopped
shows 'ALARM: collapse: the effective rank is 0\.2, below log\.rank_alarm 8\.0' collapsed
shows 'ALARM: the loss of the last step is not finite' lost
shows 'ALARM: 20 of the last 128 steps were skipped' lost
shows 'ALARM: 50 % of the time is spent waiting' starved
shows 'step 300 of 30,000' half
grep -q 'ALARM' half screen.log 2>/dev/null && fail "half a row is no alarm while the job runs: $(cat screen.log)"
shows 'ALARM: lines of metrics.csv that are no rows after the others, and are left out: 2' glued
shows 'ALARM: the settings cannot be read: .*a_setting_of_another_release' other
shows 'step 300 of an unknown number' bare
shows 'empty  not begun: nothing in it yet' empty
shows 'nowhere  not begun: no such folder yet' nowhere
refused 'this is a file' --watch --once foreign/metrics.csv
mkdir store.clips && touch store.clips/index.h5
refused 'this is a clip store' --watch --once store.clips
shows 'metrics.csv does not begin with the names of columns' foreign
shows 'control\?\[2Jname' $'control\033[2Jname'

# Several runs have a line each, with their first alarm.
shows 'going +running +██████▋░░░ +20,000 ' going hung nowhere
grep -qE '^hung +HUNG ' screen.log || fail "no line of hung: $(cat screen.log)"
grep -qE '^nowhere +not begun ' screen.log || fail "no line of nowhere: $(cat screen.log)"
[[ $(grep -c ALARM screen.log) == 1 ]] || fail "one alarm was expected: $(cat screen.log)"

# On a terminal the alternate screen is entered, and left again by q and by a signal; appended rows are shown.
python3 - "$bin/vjepa-report" <<'PYTHON' || fail "the screen"
import os, pty, select, signal, sys, time
def run(stop):
    pid, fd = pty.fork()
    if pid == 0:
        os.environ['TERM'] = 'xterm'
        os.execv(sys.argv[1], ['vjepa-report', '--watch', '--every', '0.2', 'going'])
    seen, end, told, grown = b'', time.time() + 60, False, False
    while time.time() < end:
        if select.select([fd], [], [], 0.2)[0]:
            try:
                piece = os.read(fd, 65536)
            except OSError:
                break
            if not piece:
                break
            seen += piece
        if not grown and b'20,00' in seen:
            last = 1 + int(open('going/metrics.csv').read().splitlines()[-1].split(',')[0])
            open('going/metrics.csv', 'a').write('%d,0,0.125,0.001,0.5,,0,0,64,0.5,0.001\n' % last)
            grown = True
        if grown and not told and b'loss 0.125' in seen:
            stop(pid, fd)
            told = True
    _, status = os.waitpid(pid, 0)
    assert told, 'the new row was not shown: %r' % seen[-2000:]
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, status
    assert seen.count(b'\033[?1049h') == 1 and seen.rstrip().endswith(b'\033[?25h\033[?1049l'), seen[-100:]
run(lambda pid, fd: os.write(fd, b'q'))
run(lambda pid, fd: os.kill(pid, signal.SIGTERM))
run(lambda pid, fd: os.write(fd, b'\003'))
PYTHON

refused 'belong to --watch' --once going --csv numbers
refused 'writes nothing' --watch going --csv numbers
refused 'expected seconds' --watch --every now going
finish
