#compdef PROGRAM
# zsh completion for PROGRAM. Put it as _PROGRAM into a directory of $fpath, or load it with: source <(PROGRAM completion zsh)
_PROGRAM() {
    local -a found
    local line files=""
    while IFS= read -r line; do
        if [[ "$line" == ":files" ]]; then
            files=yes
        elif [[ "$line" == *$'\t'* ]]; then
            found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        else
            found+=("${line//:/\\:}")
        fi
    done < <("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( ${#found} )); then
        _describe -V 'PROGRAM' found
    elif [[ -n "$files" ]]; then
        _files
    fi
}
if [[ "${funcstack[1]}" == "_PROGRAM" ]]; then
    _PROGRAM "$@"
else
    compdef _PROGRAM PROGRAM
fi
