#!/bin/sh
# A metric in another language than Python: the mean heat outside of the object, the lower the better. od and awk are all it needs.
#
#     sycam synth gradient --oracle examples/cold_background.sh ...
#
# sycam calls it with a query file and reads a number for each job from stdout. docs/oracles.md says what the query holds; this
# oracle needs no more than the raw files beside it and three numbers of the environment.
set -eu

if [ "$1" = describe ]; then
    echo '{"name": "cold-background", "direction": "low", "bounds": [0, 1], "needs": ["heatmaps", "masks"], "passes": 0,
           "doc": "Mean heat outside of the object; 0 where the object fills the image."}'
    exit
fi

{
    od -An -v -t f4 "$SYCAM_FOLDER/heatmaps.f32"  # float32 [jobs, height, width]
    od -An -v -t u1 "$SYCAM_FOLDER/masks.u8"      # uint8 [jobs, height, width], 1 on the object
} | awk -v jobs="$SYCAM_JOBS" -v pixels=$((SYCAM_HEIGHT * SYCAM_WIDTH)) '
    BEGIN { n = 0; heats = jobs * pixels }
    { for (i = 1; i <= NF; i++) {
          if (n < heats) heat[n] = $i
          else if ($i == 0) { job = int((n - heats) / pixels); sum[job] += heat[n - heats]; count[job]++ }
          n++ } }
    END { for (job = 0; job < jobs; job++) print count[job] ? sum[job] / count[job] : 0 }'
