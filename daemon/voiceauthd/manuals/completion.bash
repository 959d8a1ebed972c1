# Completion of voiceauth and voiceauthd in bash, printed by `voiceauth completion bash`.

_voiceauth() {
    local index word quoted current kind
    local -a words=() lines=()
    # Bash divides --option=value into three words.
    for ((index = 0; index <= COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if ((index > 1)) && [[ $word == "=" && ${words[-1]} == --* ]]; then
            words[-1]+=$word
        elif ((index > 2)) && [[ ${COMP_WORDS[index - 1]} == "=" && ${words[-1]} == --*= ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    mapfile -t lines < <(printf '%s\0' "${words[@]}" | command voiceauth completion words 2>/dev/null)
    kind=${lines[0]-}
    current=${words[-1]}
    COMPREPLY=()
    case $kind in
        words)
            for word in "${lines[@]:1}"; do
                word=${word%%$'\t'*}
                printf -v quoted %q "$word"
                [[ $word == "$current"* || $quoted == "$current"* ]] || continue
                if [[ $current == --*=* ]]; then quoted=${quoted#--*=}; fi
                COMPREPLY+=("$quoted")
            done
            ;;
        files | folders)
            if [[ $current == --*=* ]]; then current=${current#--*=}; fi
            if [[ $kind == files ]]; then kind=-f; else kind=-d; fi
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen "$kind" -- "$current")
            ;;
    esac
}

complete -F _voiceauth voiceauth voiceauthd
