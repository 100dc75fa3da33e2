"""For tests/e2e/report.sh: `report.py runs FOLDER` and `report.py long FOLDER METRICS.csv` make run folders;
`report.py check-html FILE` and `report.py check-numbers RUNS CSV` check a report."""
import csv, math, os, random, re, statistics, sys
from html.parser import HTMLParser

STEPS = 5000


def make_runs(folder):
    """Write two runs whose metrics have peaks, gaps and a column that the report does not know."""
    for number in range(2):
        draw = random.Random(number)
        run = f'{folder}/seed-{number}'
        os.makedirs(run)
        with open(run + '/metrics.csv', 'w') as out:
            out.write('step,samples,loss,loss_mask0,loss_mask1,lr,effective_rank,skipped_steps,failed_checkpoints,clips_per_s,step_s,my_own\n')
            for step in range(1, STEPS + 1):
                loss = 0.3 + math.exp(-step / 800) + draw.gauss(0, 0.02)
                if step == 1234 + number:
                    loss = 7.25
                text = '' if step in (77, 78) else f'{loss:.9g}'
                rank = f'{30 + step / 500:.9g}' if step % 50 == 0 else ''
                out.write(f'{step},{step * 8},{text},{1.1 * loss:.9g},{0.9 * loss:.9g},{1e-3 * step / STEPS:.9g},{rank},{int(step > 900) + int(step > 950)},0,'
                          f'{8 / (0.5 + 0.01 * number):.9g},{0.5 + 0.01 * number:.9g},{step % 7}\n')
        with open(run + '/config.yaml', 'w') as out:
            out.write('# The settings of this run, written by vjepa-pretrain.\n'
                      f'run:\n  seed: {number}\ntrain:\n  epochs: 2\n  steps_per_epoch: 3000\n  batch: 8\noptimizer:\n  lr: 0.001\n')


def make_long(folder, like):
    """Write 100 runs of 90,000 steps with all columns of METRICS.csv and noise in each. All but two are links."""
    names = open(like).readline().strip().split(',')
    for number in range(100):
        os.makedirs(f'{folder}/run-{number:02d}')
        with open(f'{folder}/run-{number:02d}/config.yaml', 'w') as out:
            out.write(f'run:\n  seed: {number}\ntrain:\n  epochs: 300\n  steps_per_epoch: 300\n')
        if number > 1:
            os.symlink(f'../run-{number % 2:02d}/metrics.csv', f'{folder}/run-{number:02d}/metrics.csv')
            continue
        draw = random.Random(number)
        line = ','.join({'effective_rank': '%.6g', 'skipped_steps': '0', 'failed_checkpoints': '0'}.get(n, '%.9g') for n in names) + '\n'
        noisy = line.count('%') - 2
        with open(f'{folder}/run-{number:02d}/metrics.csv', 'w') as out:
            out.write(','.join(names) + '\n')
            for step in range(1, 90001):
                level = 0.3 + math.exp(-step / 9000)
                values = [level + 0.02 * draw.random() for _ in range(noisy)]
                if step == 45678 + number:
                    values[0] = 7.25    # loss
                out.write(line % (step, step * 3072, *values))


def rows_of(path):
    return list(csv.DictReader(open(path)))


def check_numbers(runs, folder):
    for number in range(2):
        name = f'seed-{number}'
        rows = rows_of(f'{runs}/{name}/metrics.csv')
        loss = {int(r['step']): float(r['loss']) if r['loss'] else None for r in rows}
        shown = [r for r in rows_of(f'{folder}/loss.csv') if r['series'] == f'{name}, each step']
        assert len(shown) < len(rows), 'a long curve is not thinned'
        for r in shown:
            want = loss[int(r['step'])]
            assert (want is None and r['loss'] == '') or float(r['loss']) == want, r
        numbers = [v for v in loss.values() if v is not None]
        got = [float(r['loss']) for r in shown if r['loss']]
        assert max(got) == max(numbers) == 7.25 and min(got) == min(numbers), 'an extreme is lost'
        medians = [r for r in rows_of(f'{folder}/loss.csv') if r['series'] == name]
        size = math.ceil(STEPS / 120)
        for k, r in enumerate(medians):
            group = [v for v in list(loss.values())[k * size:(k + 1) * size] if v is not None]
            assert abs(float(r['loss']) - statistics.median(group)) < 1e-9, (k, r)
        row = rows_of(f'{folder}/runs.csv')[number]
        assert row['run'] == name and row['steps done'] == str(STEPS) and row['planned'] == '6000', row
        assert abs(float(row['loss']) - statistics.median(numbers[-100:])) < 1e-12, row
        assert abs(float(row['trained (s)']) - sum(float(r['step_s']) for r in rows)) < 1e-5, row
        assert float(row['effective rank']) == 40 and row['bad steps'] == '2' and row['restarts'] == '', row
    own = [r for r in rows_of(f'{folder}/my_own.csv') if r['series'] == 'seed-0, each step']
    assert all(float(r['my_own']) == int(r['step']) % 7 for r in own) and len(own) > 3000, 'a column that is not known'
    settings = rows_of(f'{folder}/settings.csv')
    assert settings == [{'setting': 'run.seed', 'seed-0': '0', 'seed-1': '1'}], settings


class Page(HTMLParser):
    """Checks that tags are balanced, ids are unique, and the page loads nothing from elsewhere and runs nothing."""
    EMPTY = {'meta', 'br', 'img', 'link', 'hr', 'input'}

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.svgs, self.text = [], set(), [], 0, []

    def attributes(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), (tag, attributes)
        assert tag not in ('script', 'iframe', 'object', 'embed', 'link', 'base', 'form'), tag
        for name, value in attributes:
            assert not name.startswith('on'), (tag, name)
            if name == 'id':
                assert value not in self.ids, f'id {value} twice'
                self.ids.add(value)
            if name == 'href':
                assert value.startswith('#'), value
                self.links.append(value[1:])
            if name == 'src':
                assert value.startswith('data:image/jpeg;base64,'), value[:80]
            if name == 'style':
                assert 'url' not in value, value
        if tag == 'svg':
            self.svgs += 1
            assert dict(attributes).get('role') == 'img' and dict(attributes).get('aria-label'), attributes
        if tag == 'img':
            assert dict(attributes).get('alt'), attributes

    def handle_starttag(self, tag, attributes):
        self.attributes(tag, attributes)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f'</{tag}> at {self.getpos()}'

    def handle_data(self, data):
        self.text.append(data)


def check_html(path):
    text = open(path, encoding='utf-8').read()
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open, page.open
    assert set(page.links) <= page.ids, set(page.links) - page.ids
    style = re.search(r'<style>(.*?)</style>', text, re.S).group(1)
    assert 'url(' not in style and '@import' not in style and 'prefers-color-scheme:dark' in style and '@media print' in style
    assert not re.search(r'rgb\(', text.split('</style>')[1]), 'a colour that no theme changes'
    assert not re.search(r'~[0-9]+~', text), 'a placeholder is left'
    print(len(text), 'bytes,', page.svgs, 'plots')


if sys.argv[1] == 'runs':
    make_runs(sys.argv[2])
elif sys.argv[1] == 'long':
    make_long(sys.argv[2], sys.argv[3])
elif sys.argv[1] == 'check-html':
    check_html(sys.argv[2])
else:
    check_numbers(sys.argv[2], sys.argv[3])
