#!/usr/bin/env bash
# Handwritten sixes and nines from V1-V3 (digit69), from arrays to scored pictures.
#
#   benchmarks/digit69.sh [OUTPUT] [FOLDS] [DRAWS]
#
# Give the same command again to go on where it was interrupted. FAST=1 is the same at toy size.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/digit69}
folds=${2:-10}
draws=${3:-40}
data=${DATA:-../shared/data}
configs=configs/digit69
small=()
prior=()
some=()
if [[ -n "${FAST:-}" ]]; then
  small=(--trainer.max_epochs 1 --trainer.limit_train_batches 2 --trainer.limit_val_batches 1)
  some=(--pictures 500)
  prior=("${small[@]}" --trainer.max_epochs 2 --model.first_stage_epochs 1)
fi

python -m benchmarks.digit69 inputs --shared "$data" --output "$out" --folds "$folds" "${some[@]}"

# The prior: MNIST sixes and nines, without any of the 100 pictures that were shown.
mindvis fit -c "$configs/latent.yaml" --data.pictures "$out/pictures.npz" \
  --output "$out/latent" "${prior[@]}"

measured() { # SOURCE STORE
  mindvis prepare arrays --source "$1" --store "$2" --dataset digit69 \
    --train_responses fmriTrn --train_images stimTrn --train_labels labelTrn \
    --test_responses fmriTest --test_images stimTest --test_labels labelTest \
    --image_layout flat-columns --label_names '{"1": six, "2": nine}'
}

train() { # STORE FOLDER NAME CONFIGS: stages A and B, decoding, evaluation
  mindvis fit -c "$4/pretrain.yaml" --data.store "$1" --output "$2/pretrain$3" "${small[@]}"
  mindvis fit -c "$4/finetune.yaml" --data.store "$1" --model.encoder "$2/pretrain$3" \
    --model.ldm "$out/latent" --output "$2/finetune$3" "${small[@]}"
  mindvis decode "$2/finetune$3" --store "$1" --output "$2/decoded$3" \
    --draws "$draws" --steps 20 --guidance 1 --batch_size 40
  mindvis evaluate "$2/decoded$3" --store "$2/measured.h5"
}

split() { # SOURCE FOLDER
  mkdir -p "$2"
  measured "$1" "$2/measured.h5"
  mindvis prepare augment --source "$2/measured.h5" --pictures "$out/pictures.npz" \
    --store "$2/augmented.h5" --components 24 --blur 2 --voxels 600 --alpha 2 \
    --shrinkage 0.6 --noise 2.5 --draws 1 --project
  train "$2/augmented.h5" "$2" "" "$configs"
}

split "$data/digit69/digit69_28x28.mat" "$out/official"
# The same stages on the 90 measured trials alone, all voxels.
if [[ -z "${FAST:-}" ]]; then
  train "$out/official/measured.h5" "$out/official" -measured "$configs/plain"
fi

for ((fold = 0; fold < folds; fold++)); do
  split "$out/fold-$fold.npz" "$out/split-$fold"
done

python -m benchmarks.digit69 table --output "$out"
