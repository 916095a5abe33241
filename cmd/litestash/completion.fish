# Completion of litestash in fish. It can also be the file ~/.config/fish/completions/litestash.fish.

function __litestash_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l answer ($words[1] (string escape -- $words[2..-1]) "$current" --generate-bash-completion 2>/dev/null)
    # A value after --flag= is completed as a word of its own.
    set -l flag (string match -r -- '^--[^=]+=' $current)
    set -l value (string replace -r -- '^--[^=]+=' '' $current)
    switch "$answer[1]"
        case files
            string replace -r -- '^' "$flag" (__fish_complete_path $value)
        case dirs
            string replace -r -- '^' "$flag" (__fish_complete_directories $value '')
        case words
            printf '%s\n' $answer[2..-1]
    end
end

complete -c litestash -f -k -a '(__litestash_complete)'
