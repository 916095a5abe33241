#compdef litestash
# Completion of litestash in zsh. It can also be a file _litestash in a directory of $fpath.

_litestash() {
	local kind line word
	local -a answer values
	answer=("${(@f)$("${~${(Q)words[1]}}" "${(@)words[2,CURRENT]}" --generate-bash-completion 2>/dev/null)}")
	kind=$answer[1]
	case $kind in
	files | dirs)
		compset -P '--[^=]##='
		if [[ $kind == dirs ]]; then
			_files -/
		else
			_files
		fi
		;;
	words)
		for line in "${(@)answer[2,-1]}"; do
			word=${line%%$'\t'*} # in what _describe takes, a colon ends it
			values+=("${word//:/\\:}${${line#$word}/$'\t'/:}")
		done
		_describe -V litestash values
		;;
	esac
}

if [[ $funcstack[1] == _litestash ]]; then
	_litestash "$@"
else
	compdef _litestash litestash
fi
