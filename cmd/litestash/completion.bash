# Completion of litestash in bash, 3.2 and later.

_litestash() {
	local rest=$COMP_LINE i n=-1 cur kind='' word
	local -a words=()
	COMPREPLY=()
	# bash takes words apart at = and : too. Put together what no space is between.
	for ((i = 0; i <= COMP_CWORD; i++)); do
		if ((n < 0)) || [[ $rest == [[:space:]]* ]]; then
			n=$((n + 1))
			words[n]=''
		fi
		rest=${rest#"${rest%%[![:space:]]*}"}
		rest=${rest#"${COMP_WORDS[i]}"}
		words[n]+=${COMP_WORDS[i]}
	done
	cur=${words[n]}
	while IFS= read -r word; do
		if [[ -z $kind ]]; then
			kind=$word
			continue
		fi
		word=${word%%$'\t'*}
		[[ $cur == [\"\']* ]] || word=$(printf %q "$word")
		# Only what follows the last = or : is replaced.
		[[ $COMP_WORDBREAKS != *=* ]] || word=${word#"${cur%"${cur##*=}"}"}
		[[ $COMP_WORDBREAKS != *:* ]] || word=${word#"${cur%"${cur##*:}"}"}
		COMPREPLY+=("$word")
	done < <("${words[0]/#\~/$HOME}" "${words[@]:1}" --generate-bash-completion 2>/dev/null)
	# Without an answer, bash completes names of files, which is right for two of the three kinds.
	if [[ $kind == words ]] && type compopt &>/dev/null; then
		compopt +o default +o bashdefault
	elif [[ $kind == dirs ]] && type compopt &>/dev/null; then
		compopt -o dirnames +o default +o bashdefault
	fi
}

complete -o bashdefault -o default -F _litestash litestash
