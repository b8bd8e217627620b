# bash completion for PROGRAM. Load it with: source <(PROGRAM completion bash)
_PROGRAM_complete() {
    # The line as it was typed: bash itself takes words apart at ':' and '='.
    local line="${COMP_LINE:0:COMP_POINT}" words candidate current="" files=""
    read -ra words <<<"$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    current="${words[${#words[@]} - 1]}"
    # Of the last word bash replaces only what follows the last of its own word breaks.
    local typed="" rest="${COMP_WORDS[COMP_CWORD]}"
    [[ "$rest" == [:=] ]] && rest=""
    typed="${current%"$rest"}"
    COMPREPLY=()
    while IFS= read -r candidate; do
        if [[ "$candidate" == ":files" ]]; then
            files=yes
            continue
        fi
        candidate="${candidate%%$'\t'*}"
        COMPREPLY+=("${candidate#"$typed"}")
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    if [[ -n "$files" && ${#COMPREPLY[@]} -eq 0 ]]; then
        compopt -o default 2>/dev/null
    fi
}
complete -F _PROGRAM_complete PROGRAM
