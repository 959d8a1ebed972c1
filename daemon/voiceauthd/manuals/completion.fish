# Completion of voiceauth and voiceauthd in fish, printed by `voiceauth completion fish`.

function __voiceauth_complete
    set -l current "$(commandline -ct | string unescape)"
    set -l words (commandline -opc) "$current"
    set -l lines (string join0 -- $words | command voiceauth completion words 2>/dev/null)
    set -l prefix (string match -r -- '^--[^=]*=' $current)
    switch "$lines[1]"
        case words
            string collect -- $lines[2..]
        case files
            for path in (__fish_complete_path (string replace -- "$prefix" '' $current))
                echo "$prefix$path"
            end
        case folders
            for path in (__fish_complete_directories (string replace -- "$prefix" '' $current))
                echo "$prefix$path"
            end
    end
end

complete -c voiceauth -f -a '(__voiceauth_complete)'
complete -c voiceauthd -f -a '(__voiceauth_complete)'
