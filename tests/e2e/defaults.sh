#!/usr/bin/env bash
# All other tests set threads, file locks, transports and waiting for a small busy machine. Here none of these is set, as for a
# user who just calls mpirun. Checks that packing, training (killed and continued), embedding and probing give the same results.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

plain() { # RANKS COMMAND...: only what root and more ranks than processors need is set, and VJ_ISA, if the tests stand for another processor
    local ranks=$1
    shift
    (
        while IFS= read -r name; do unset "$name"; done < <(compgen -e | grep -E '^(OMP_|GOMP_|OPENBLAS_|MKL_|HDF5_|OMPI_MCA_|VJ_)' | grep -vx VJ_ISA)
        export OMPI_MCA_rmaps_base_oversubscribe=1
        exec timeout 600 mpirun -n "$ranks" "$@"
    )
}
pack() { # HOW RANKS
    "$1" "$2" "$bin/vjepa-pack" pack.yaml --set pack.store="$1.clips" >"$1.log" 2>&1 || fail "packing, $1: $(tail -n 5 "$1.log")"
    "$bin/vjepa-inspect" "$1.clips" | grep '^fingerprint' >"$1.print" || true
}

"$tools/make_videos" videos 8
echo 'pack: {lists: [videos/list.csv], short_side: 32, frames: 8, step: 2, codec: jpeg}' >pack.yaml
pack run 2
pack plain 2
[ -s run.print ] && cmp -s run.print plain.print || fail "the stores differ: $(diff run.print plain.print)"

# Training, killed when the third checkpoint gets its name.
make_store train.clips 30
make_store val.clips 12 1000
pretrain 2 usual >usual.log 2>&1 || fail "usual: $(tail -n 5 usual.log)"
killed=$scratch/killed
plain 2 -x LD_PRELOAD="$shim" -x VJ_FAULT="0 rename /step_ 3 kill" "$bin/vjepa-pretrain" "$tiny" --set run.dir="$killed" >killed.log 2>&1 || true
[ -e "$killed/step_00000005.h5" ] && [ ! -e "$killed/complete" ] || fail "the run was not killed in the middle: $(tail -n 5 killed.log)"
plain 2 "$bin/vjepa-pretrain" "$tiny" --set run.dir="$killed" >resumed.log 2>&1 || fail "continued: $(tail -n 5 resumed.log)"
grep -q "resuming from $killed/step_" resumed.log || fail "the second start did not resume: $(cat resumed.log)"
last=step_00000024.h5
plain 1 "$bin/vjepa-inspect" --compare usual/$last "$killed/$last" >compare.log 2>&1 || fail "checkpoints differ: $(tail -n 3 compare.log)"

for how in run plain; do
    for set in train val; do
        $how 2 "$bin/vjepa-embed" "$tiny" --encoder usual/$last --store $set.clips --out $how-$set.h5 >embed.log 2>&1 || fail "embedding, $how: $(tail -n 5 embed.log)"
    done
    $how 2 "$bin/vjepa-probe" "$tiny" "a=$how-train.h5,$how-val.h5" --out $how >probe.log 2>&1 || fail "probing, $how: $(tail -n 5 probe.log)"
    plain 1 "$bin/vjepa-inspect" $how-val.h5 >$how.txt 2>&1 || fail "inspecting features: $(cat $how.txt)"
done
cmp -s <(grep -E '"top1|"share' run/results.json) <(grep -E '"top1|"share' plain/results.json) || fail "probes differ"
grep -q top1 run/results.json || fail "no accuracies: $(head run/results.json)"
finish
