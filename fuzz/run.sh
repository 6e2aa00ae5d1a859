#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fuzz/run.sh BUILD_FOLDER SECONDS [TARGET...]   fuzzes each target, one after the other, from its kept corpus
# fuzz/run.sh BUILD_FOLDER merge [TARGET...]     adds to the kept corpus what the runs found and it does not reach
# New inputs go to BUILD_FOLDER/corpus/TARGET, findings and logs to BUILD_FOLDER/findings/TARGET.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
seconds=$2
shift 2
[ $# -gt 0 ] || set -- study_file tokenizer_file config packed_file jsonl safetensors tokenizer_text shard_index recipe \
                       json artefact_manifest archive csv data_rows
export ASAN_OPTIONS=quarantine_size_mb=64 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
failed=0
for target in "$@"; do
  case $target in  # what is long enough for everything the format has
    tokenizer_file) longest=16384 ;;
    jsonl) longest=8192 ;;
    tokenizer_text | json) longest=2048 ;;
    recipe) longest=256 ;;
    *) longest=4096 ;;
  esac
  kept=$here/corpus/$target found=$build/corpus/$target
  mkdir -p "$found" "$build/findings/$target"
  if [ "$seconds" = merge ]; then
    "$build/fuzz/fuzz_$target" -set_cover_merge=1 -max_len="$longest" "$kept" "$found"
  else
    (cd "$build/findings/$target" &&
      "$build/fuzz/fuzz_$target" "$found" "$kept" -dict="$here/dictionaries/$target.dict" -max_len="$longest" \
        -max_total_time="$seconds" -rss_limit_mb=2048 -malloc_limit_mb=64 -timeout=25 -print_final_stats=1 2>log) ||
      failed=1
    grep -E 'what\(\)|SUMMARY|number_of_executed|DONE' "$build/findings/$target/log" | sed "s/^/$target: /"
  fi
done
exit $failed
