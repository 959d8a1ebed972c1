#compdef voiceauth voiceauthd
# Completion of voiceauth and voiceauthd in zsh, printed by `voiceauth completion zsh`.

_voiceauth() {
    local line word help kind
    local -a lines described
    lines=("${(@f)$(print -rN -- "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" |
        command voiceauth completion words 2>/dev/null)}")
    kind=$lines[1]
    shift lines
    case $kind in
        words)
            for line in $lines; do
                word=${line%%$'\t'*}
                help=${line#*$'\t'}
                described+=("${word//:/\\:}${help:+:$help}")
            done
            _describe 'voiceauth' described
            ;;
        files | folders)
            [[ $PREFIX == --*=* ]] && compset -P '*='
            if [[ $kind == files ]]; then _files; else _files -/; fi
            ;;
    esac
}

# In a folder of $fpath this file is the function itself; otherwise it was read with `source`.
if [[ $funcstack[1] == _voiceauth ]]; then
    _voiceauth "$@"
else
    compdef _voiceauth voiceauth voiceauthd
fi
