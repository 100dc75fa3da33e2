#!/usr/bin/env bash
# Checks a login node, where MPI may not start: vjepa-plan, vjepa-inspect and vjepa-report work, and every program answers --help
# and the like.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
shim=$tools/libno_mpi_shim.so

make_store train.clips 40
pretrain 1 "$scratch/run" --set train.epochs=2 >run.log 2>&1 || fail "pretraining: $(cat run.log)"
run 1 "$bin/vjepa-embed" "$tiny" --encoder run/step_00000016.h5 --store train.clips --out features.h5 >embed.log 2>&1 ||
    fail "embed: $(cat embed.log)"

here() { # CODE PROGRAM ARGUMENTS...: what it says is in here.log
    local want=$1 program=$2 code=0
    shift 2
    LD_PRELOAD=$shim "$bin/$program" "$@" >here.log 2>&1 || code=$?
    [ $code -eq "$want" ] || fail "$program $*: exit $code, expected $want: $(tail -n 5 here.log)"
}
says() { grep -q "$1" here.log || fail "'$1' is not said: $(tail -n 5 here.log)"; }

# The shim works: a program that needs MPI ends when it starts MPI.
here 99 vjepa-pretrain "$tiny"
says 'MPI is not allowed here'

# Every program, and those that this build should have: the others are named.
tested=0
read -ra built <<<"${VJEPA_PROGRAMS:?run through ctest}"
for program in bench compare demo embed evaluate inspect pack parity plan pretrain probe report scale spectrum; do
    if [[ " ${built[*]} " != *" vjepa-$program "* ]]; then
        echo "skipped: vjepa-$program is not part of this build"
        continue
    fi
    here 0 "vjepa-$program" --help
    says 'xample'
    here 0 "vjepa-$program" --version
    says "vjepa-$program, part of vjepa"
    here 2 "vjepa-$program" --no-such-option
    tested=$((tested + 1))
done
here 0 vjepa-decode --help
[ $((${#built[@]} - tested)) = 1 ] || fail "not all programs of this build are among the tested: ${built[*]}"
for program in embed pack plan pretrain probe; do here 0 "vjepa-$program" --print-config; done
for program in embed pack plan pretrain; do
    here 0 "vjepa-$program" --print-config "$tiny" --set run.seed=77
    says 'seed: 77'
done

# Everything that vjepa-inspect does.
for file in train.clips run run/step_00000016.h5 features.h5; do here 0 vjepa-inspect "$file"; done
here 0 vjepa-inspect --verify train.clips run features.h5
[ "$(grep -c ' blocks, 0 damaged' here.log)" = 3 ] || fail "verify: $(cat here.log)"
here 0 vjepa-inspect --compare run/step_00000016.h5 run
says ' tensors equal, 0 different'
here 1 vjepa-inspect --compare run/step_00000015.h5 run
here 0 vjepa-inspect --compare train.clips train.clips
here 0 vjepa-inspect --compare features.h5 features.h5
here 2 vjepa-inspect --compare features.h5 run
for dtype in fp32 bf16; do
    here 0 vjepa-inspect --export "$dtype.h5" --dtype "$dtype" run
    here 0 vjepa-inspect --verify "$dtype.h5"
done
here 0 vjepa-inspect --contact-sheet sheet.png train.clips
here 0 vjepa-inspect --contact-sheet masks.png --clips 3 --masks "$tiny" train.clips
[ -s sheet.png ] && [ -s masks.png ] || fail "no contact sheets"
here 1 vjepa-inspect nowhere.h5
here 2 vjepa-inspect --dtype bf16 run
"$bin/vjepa-inspect" --compare fp32.h5 bf16.h5 >/dev/null && fail "the exported encoders are the same"

# A report: only its plots need gnuplot, not its numbers.
here 0 vjepa-report run --csv numbers
says '1 of 1 inputs, 0 notes'

# A forecast; if no layout fits the exit code is 1.
for name in quickstart vitl16_224; do here 0 vjepa-plan "$source_dir/jobs/configs/$name.yaml" \
    --cluster "$source_dir/jobs/configs/cluster_example.yaml" --json; done
here 1 vjepa-plan "$source_dir/jobs/configs/vitl16_224.yaml" --set cluster.memory_gb=1
here 2 vjepa-plan "$tiny" --set model.width=-1

# Under a launcher only one rank works.
run 3 -x LD_PRELOAD="$shim" "$bin/vjepa-inspect" --verify train.clips >ranks.log 2>&1 || fail "on three ranks: $(cat ranks.log)"
[ "$(cat ranks.log)" = 'train.clips: verified: 40 blocks, 0 damaged' ] || fail "on three ranks: $(cat ranks.log)"
finish
