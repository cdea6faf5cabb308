# fish completion for lcsm

function __lcsm_models
    for folder in (dirname (dirname (command -s lcsm)))/share/lcsm/models (string split : -- $LCSM_MODELS)
        test -d $folder; and ls $folder
    end
    __fish_complete_directories
end

set -l commands generate logits score inspect convert plan bench
complete -c lcsm -f
complete -c lcsm -n "not __fish_seen_subcommand_from $commands" -a generate -d 'Continue a prompt'
complete -c lcsm -n "not __fish_seen_subcommand_from $commands" -a logits -d 'Write the logits of given tokens'
complete -c lcsm -n "not __fish_seen_subcommand_from $commands" -a score -d 'Score sequences'
complete -c lcsm -n "not __fish_seen_subcommand_from $commands" -a inspect -d 'Show what a model is'
complete -c lcsm -n "not __fish_seen_subcommand_from $commands" -a convert -d 'Turn a checkpoint into a model folder'
complete -c lcsm -n "not __fish_seen_subcommand_from $commands" -l version -d 'Show the version'
complete -c lcsm -n "not __fish_seen_subcommand_from $commands" -a plan -d 'Show how convolutions are computed'
complete -c lcsm -n "not __fish_seen_subcommand_from $commands" -a bench -d 'Measure'
complete -c lcsm -n '__fish_seen_subcommand_from bench' -x -a 'mixer tiles model latency pool paper'
complete -c lcsm -l help -d 'Show the options'

set -l runs '__fish_seen_subcommand_from generate logits score inspect plan'
complete -c lcsm -n "$runs" -l model -x -a '(__lcsm_models)' -d 'Model folder or name'
complete -c lcsm -n "$runs" -l weights -x -a 'f32 bf16 int8' -d 'Matrices in memory'
complete -c lcsm -n "$runs" -l method -x -a 'planned paper lazy eager futurefill gardner' -d 'Way of convolving'
complete -c lcsm -n "$runs" -l tau -x -a 'direct direct-blocked fft-library fft-fused hybrid' -d 'Way of computing one tile'
complete -c lcsm -n "$runs" -l schedule -x -a 'across-layers per-layer' -d 'When tiles are computed'
complete -c lcsm -n "$runs" -l latency -x -a 'best flat' -d 'Least work, or the same in every step'
complete -c lcsm -n "$runs" -l plan -r -F -d 'Exactly the levels in this file'
complete -c lcsm -n "$runs" -l memory-limit -x -d 'Bytes that the run may take'
complete -c lcsm -n "$runs" -l threads -x -d 'Number of threads'

set -l plan '__fish_seen_subcommand_from plan'
complete -c lcsm -n $plan -l channels -x -d 'No model: so many channels'
complete -c lcsm -n $plan -l length -x -d 'Positions'
complete -c lcsm -n $plan -l mixers -x -d 'Convolutions in a row'
complete -c lcsm -n $plan -l batch -x -d 'Rows that share the filters'
complete -c lcsm -n $plan -l taps -x -d 'Taps of the filters'
complete -c lcsm -n $plan -l tune -d 'Measure tiles and keep the results'
complete -c lcsm -n $plan -l measure -d 'Run the plan, time each level'
complete -c lcsm -n $plan -l save -r -F -d 'Write the levels'
complete -c lcsm -n $plan -l svg -r -F -d 'Draw the tiling'
complete -c lcsm -n $plan -l json -d 'JSON instead of a table'
complete -c lcsm -n $plan -l quiet -d 'No progress and no notes'

set -l generate '__fish_seen_subcommand_from generate'
complete -c lcsm -n $generate -l prompt -x -d 'Text to continue'
complete -c lcsm -n $generate -l prompt-file -r -F -d 'File with the text to continue'
complete -c lcsm -n $generate -l prompt-tokens -r -F -d 'File of token ids to continue'
complete -c lcsm -n $generate -l fold-case -d 'Read lower-case DNA as upper case'
complete -c lcsm -n $generate -l max-new-tokens -x -d 'Tokens to generate'
complete -c lcsm -n $generate -l stop -x -d 'End before this text'
complete -c lcsm -n $generate -l stop-at-eos -d 'End at the end-of-sequence token'
complete -c lcsm -n $generate -l temperature -x -d '0 is greedy'
complete -c lcsm -n $generate -l top-k -x -d 'Keep the k likeliest'
complete -c lcsm -n $generate -l top-p -x -d 'Keep the likeliest up to this share'
complete -c lcsm -n $generate -l min-p -x -d 'Drop what is below this times the likeliest'
complete -c lcsm -n $generate -l seed -x -d 'Seed of the random numbers'
complete -c lcsm -n $generate -l allow -x -d 'Generate these characters only'
complete -c lcsm -n $generate -l dry-run -d 'Tell bytes and time, and stop'
complete -c lcsm -n $generate -l num-samples -x -d 'Samples to generate'
complete -c lcsm -n $generate -l format -x -a 'text tokens fasta jsonl' -d 'Form of the output'
complete -c lcsm -n $generate -l logprobs -d 'Add log-probabilities'
complete -c lcsm -n $generate -l stats -r -F -d 'Write figures of the run'
complete -c lcsm -n $generate -l quiet -d 'No summary, notes or progress'

set -l logits '__fish_seen_subcommand_from logits'
complete -c lcsm -n $logits -l tokens -r -F -d 'File of token ids'
complete -c lcsm -n $logits -l output -r -F -d 'Matrix to write'
complete -c lcsm -n $logits -l step -d 'Through the decode path'
complete -c lcsm -n $logits -l quiet -d 'No progress'

set -l score '__fish_seen_subcommand_from score'
complete -c lcsm -n $score -F
complete -c lcsm -n $score -l regions -r -F -d 'Only these regions (BED)'
complete -c lcsm -n $score -l strand -x -a 'forward both' -d 'Forward, or the mean of both'
complete -c lcsm -n $score -l window -x -d 'Bases of a window'
complete -c lcsm -n $score -l stride -x -d 'Bases from window to window'
complete -c lcsm -n $score -l output -r -F -d 'Where the table goes'
complete -c lcsm -n $score -l format -x -a 'tsv jsonl' -d 'Form of the output'
complete -c lcsm -n $score -l per-token -r -F -d 'Where a line a base goes'
complete -c lcsm -n $score -l reduce -x -a 'sum mean' -d 'What is called the score'
complete -c lcsm -n $score -l comments -d 'Begin with program, model, settings'
complete -c lcsm -n $score -l quiet -d 'No summary, notes or progress'

set -l inspect '__fish_seen_subcommand_from inspect'
complete -c lcsm -n $inspect -l length -x -d 'Foretell the memory at this length'
complete -c lcsm -n $inspect -l json -d 'JSON instead of a table'

set -l convert '__fish_seen_subcommand_from convert'
complete -c lcsm -n $convert -F
complete -c lcsm -n $convert -l output -x -a '(__fish_complete_directories)' -d 'Model folder to make'
complete -c lcsm -n $convert -l config -r -F -d 'config.json of the model'
complete -c lcsm -n $convert -l overwrite -d 'Replace a model that stands there'
complete -c lcsm -n $convert -l quiet -d 'No report'
complete -c lcsm -n $convert -l filter-shift -x -d 'Shift of the filters\' window'
complete -c lcsm -n $convert -l filter-layout -x -a 'order_slowest order_fastest' -d 'Order of the filter channels'
