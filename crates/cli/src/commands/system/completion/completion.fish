# fish completion for PROGRAM. Load it with: PROGRAM completion fish | source
function __PROGRAM_complete
    set -l words (commandline -opc)
    set -l answer ($words[1] __complete $words[2..-1] (commandline -ct) 2>/dev/null)
    if contains -- :files $answer
        __fish_complete_path (commandline -ct)
    end
    string match -v -- :files $answer
end
complete -c PROGRAM -f -a '(__PROGRAM_complete)'
