# bash completion for lcsm
_lcsm() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  local execution="--method --tau --schedule --latency --plan --costs --memory-limit --threads"
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "generate logits score embed inspect convert plan variants classify bench --help --version" -- "$cur"))
    return
  fi
  # A flag there, a file in bench.
  case "${COMP_WORDS[1]} $prev" in "inspect --json"|"plan --json") prev= ;; esac
  case $prev in
    --method) COMPREPLY=($(compgen -W "planned paper lazy eager futurefill gardner" -- "$cur")); return ;;
    --tau) COMPREPLY=($(compgen -W "direct direct-blocked fft-library fft-fused hybrid" -- "$cur")); return ;;
    --device) COMPREPLY=($(compgen -W "cpu auto cuda cuda:0 cuda:0,1" -- "$cur")); return ;;
    --weights) COMPREPLY=($(compgen -W "f32 bf16 int8" -- "$cur")); return ;;
    --schedule) COMPREPLY=($(compgen -W "across-layers per-layer" -- "$cur")); return ;;
    --costs) COMPREPLY=($(compgen -W "measured estimated" -- "$cur")); return ;;
    --latency) COMPREPLY=($(compgen -W "best flat" -- "$cur")); return ;;
    --format)
      case ${COMP_WORDS[1]} in
        score) COMPREPLY=($(compgen -W "tsv jsonl" -- "$cur")) ;;
        variants) COMPREPLY=($(compgen -W "tsv vcf" -- "$cur")) ;;
        *) COMPREPLY=($(compgen -W "text tokens fasta jsonl" -- "$cur")) ;;
      esac
      return ;;
    --strand) COMPREPLY=($(compgen -W "forward both" -- "$cur")); return ;;
    --reduce) COMPREPLY=($(compgen -W "sum mean" -- "$cur")); return ;;
    --pooling)
      case ${COMP_WORDS[1]} in
        embed) COMPREPLY=($(compgen -W "mean last none" -- "$cur")) ;;
        *) COMPREPLY=($(compgen -W "usual last first pool sum" -- "$cur")) ;;
      esac
      return ;;
    --special-tokens) COMPREPLY=($(compgen -W "usual none sep cls-sep" -- "$cur")); return ;;
    --place) COMPREPLY=($(compgen -W "middle 7/8" -- "$cur")); return ;;
    --on-mismatch) COMPREPLY=($(compgen -W "error skip" -- "$cur")); return ;;
    --filter-layout) COMPREPLY=($(compgen -W "order_slowest order_fastest" -- "$cur")); return ;;
    --model)
      # Folders, and the names of models that are installed.
      local names="" folder base
      base=$(command -v -- "${COMP_WORDS[0]}" 2>/dev/null)
      for folder in "${base%/bin/*}/share/lcsm/models" ${LCSM_MODELS//:/ }; do
        [ -d "$folder" ] && names+=" $(ls -- "$folder" 2>/dev/null)"
      done
      COMPREPLY=($(compgen -W "$names" -- "$cur") $(compgen -d -- "$cur"))
      return ;;
    --prompt-file|--prompt-tokens|--prompt-fasta|--tokens|--stats|--config|--json|--svg|--plan|--save|--regions|--per-token|--reference|--vcf) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --output)
      if [ "${COMP_WORDS[1]}" = convert ]; then
        COMPREPLY=($(compgen -d -- "$cur"))
      else
        COMPREPLY=($(compgen -f -- "$cur"))
      fi
      return ;;
    --prompt|--stop|--allow|--max-new-tokens|--temperature|--top-k|--top-p|--min-p|--seed|--num-samples|--threads|--save-every|--length|--memory-limit|--channels|--mixers|--batch|--taps|--filter-shift|--window|--stride|--pad-to)
      return ;;
  esac
  case ${COMP_WORDS[1]} in
    generate) COMPREPLY=($(compgen -W "--model --weights --device --prompt --prompt-file --prompt-tokens --prompt-fasta --fold-case
      --max-new-tokens --stop --stop-at-eos --temperature --top-k --top-p --min-p --seed --allow
      --num-samples --batch --format --logprobs --stats --save-session --save-every --resume --dry-run --quiet --help
      $execution" -- "$cur")) ;;
    logits) COMPREPLY=($(compgen -W "--model --weights --device --tokens --output --step --quiet --help $execution" -- "$cur")) ;;
    score)
      case $cur in
        -*) COMPREPLY=($(compgen -W "--model --weights --device --regions --strand --window --stride --output --format --per-token
          --reduce --comments --quiet --help $execution" -- "$cur")) ;;
        *) COMPREPLY=($(compgen -f -- "$cur")) ;;
      esac ;;
    embed)
      case $cur in
        -*) COMPREPLY=($(compgen -W "--model --weights --device --output --layer --pooling --regions --strand --quiet --help
          $execution" -- "$cur")) ;;
        *) COMPREPLY=($(compgen -f -- "$cur")) ;;
      esac ;;
    inspect) COMPREPLY=($(compgen -W "--model --weights --device --length --json --help $execution" -- "$cur")) ;;
    plan) COMPREPLY=($(compgen -W "--model --weights --device --channels --length --mixers --batch --taps --tune --measure
      --save --svg --json --quiet --help $execution" -- "$cur")) ;;
    classify)
      case $cur in
        -*) COMPREPLY=($(compgen -W "--model --weights --device --pooling --special-tokens --pad-to --output --comments
          --quiet --help $execution" -- "$cur")) ;;
        *) COMPREPLY=($(compgen -f -- "$cur")) ;;
      esac ;;
    variants) COMPREPLY=($(compgen -W "--model --weights --device --reference --vcf --window --place --strand
      --on-mismatch --save-index --output --format --comments --stats --no-share --quiet --help
      $execution" -- "$cur")) ;;
    convert)
      case $cur in
        -*) COMPREPLY=($(compgen -W "--output --config --filter-shift --filter-layout --overwrite --quiet --help" -- "$cur")) ;;
        *) COMPREPLY=($(compgen -f -- "$cur")) ;;
      esac ;;
    bench)
      case ${COMP_WORDS[2]} in
        mixer) COMPREPLY=($(compgen -W "--channels --batch --mixers --lengths --threads --methods
          --taus --schedule --repeats --json --svg --help" -- "$cur")) ;;
        batch) COMPREPLY=($(compgen -W "--model --weights --shape --rows --prompt --steps --repeats --latency --threads --json --help" -- "$cur")) ;;
        contract) COMPREPLY=($(compgen -W "--channels --mixers --length --max-plus-channels --threads --repeats --json
          --help" -- "$cur")) ;;
        mixers) COMPREPLY=($(compgen -W "--mixers --lengths --layers --width --modes --no-states --threads --repeats
          --quiet --json --svg --memory-svg --states-svg --help" -- "$cur")) ;;
        bytes) COMPREPLY=($(compgen -W "--methods --batches --lengths --channels --mixers --count-only --passes --threads --repeats
          --quiet --json --svg --share-svg --help" -- "$cur")) ;;
        links) COMPREPLY=($(compgen -W "--links --layers --width --length --threads --repeats --quiet --json --svg
          --help" -- "$cur")) ;;
        pool) COMPREPLY=($(compgen -W "--threads --calls --json --help" -- "$cur")) ;;
        tiles) COMPREPLY=($(compgen -W "--max-block --repeats --json --help" -- "$cur")) ;;
        model) COMPREPLY=($(compgen -W "--model --weights --shape --at --steps --rounds --history --json --help
          $execution" -- "$cur")) ;;
        latency) COMPREPLY=($(compgen -W "--model --weights --shape --length --latencies --memory-limit --threads --json --svg --help" -- "$cur")) ;;
        paper) COMPREPLY=($(compgen -W "--setting --layers --width --batch --lengths --methods --taus
          --schedules --threads --memory --repeats --whole --quick --json --svg --help" -- "$cur")) ;;
        relaxed) COMPREPLY=($(compgen -W "--channels --batch --mixers --lengths --method --tau --threads
          --repeats --no-lazy --quiet --json --svg --help" -- "$cur")) ;;
        plans) COMPREPLY=($(compgen -W "--channels --batch --mixers --lengths --threads --candidates
          --finalists --rounds --memory-limit --untuned --quiet --json --help" -- "$cur")) ;;
        *) [ "$COMP_CWORD" -eq 2 ] && COMPREPLY=($(compgen -W "mixer tiles model latency pool paper relaxed plans contract batch mixers bytes links" -- "$cur")) ;;
      esac ;;
  esac
}
complete -o filenames -F _lcsm lcsm
