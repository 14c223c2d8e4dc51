# SPDX-License-Identifier: Apache-2.0
# Completion of qbench for bash. It knows no command, option or value: it asks the program.

_qbench()
{
	local program=$1 cur=$2 command='' value='' option='' word
	COMPREPLY=()
	word=${COMP_WORDS[1]-}
	((COMP_CWORD > 1)) && [[ $word != -* ]] && command=$word

	# "--option=va" comes as three words when '=' breaks words, as it does by default.
	if [[ $cur == = ]]; then
		option=${COMP_WORDS[COMP_CWORD - 1]}
	elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then
		option=${COMP_WORDS[COMP_CWORD - 2]} value=$cur
	elif [[ $cur == --*=* ]]; then
		option=${cur%%=*} value=${cur#*=}
	elif [[ $3 == --* ]] && ((COMP_CWORD > 1)); then
		# "--option va", unless it is one without a value
		"$program" $command --list-options 2>/dev/null | grep -qxF -e "$3=" && option=$3 value=$cur
	fi

	if [[ -n $option ]]; then
		_qbench_value
	elif [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W '$("$program" $command --list-options 2>/dev/null)' -- "$cur"))
		[[ ${COMPREPLY-} == *= ]] && compopt -o nospace 2>/dev/null
	elif ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W '$("$program" --list-commands 2>/dev/null) help' -- "$cur"))
	elif [[ $command == help ]]; then
		COMPREPLY=($(compgen -W '$("$program" --list-commands 2>/dev/null)' -- "$cur"))
	elif [[ $command == inspect || $command == recover ]]; then
		COMPREPLY=($(compgen -f -- "$cur"))
	fi
	return 0
}

# The values of $option that begin with $value; a list goes on behind its last comma.
_qbench_value()
{
	local words before=''

	words=$("$program" $command --list-values="$option" 2>/dev/null)
	if [[ -z $words ]]; then
		COMPREPLY=($(compgen -f -- "$value"))
		return
	fi
	[[ $value == *,* ]] && before=${value%,*},
	COMPREPLY=($(compgen -P "$before" -W '$words' -- "${value#"$before"}"))
	# A scenario may be a file.
	[[ $option == --scenario ]] && COMPREPLY+=($(compgen -f -X '!*.ini' -- "$value"))
	# Where '=' breaks no words the whole word is replaced.
	[[ $cur == --*=* ]] && COMPREPLY=("${COMPREPLY[@]/#/$option=}")
	return 0
}

complete -F _qbench qbench
