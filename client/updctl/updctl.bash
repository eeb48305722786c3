# SPDX-License-Identifier: MIT
# Completion of updctl for bash. Verbs and options come from updctl's own help, jobs, plans and
# steps from the daemon.

_updctl_words() {
        # The first words of the help's list of verbs.
        updctl help 2>/dev/null | sed -n '/^$/,/^with/s/^  \([a-z]\{1,\}\).*/\1/p'
}

_updctl_jobs() {
        updctl list --state unfinished 2>/dev/null | awk '/^ *[0-9]/ {print $1}'
}

_updctl_plans() {
        updctl plans 2>/dev/null | awk '/^[^ ]/ {print $1}'
}

_updctl_schedules() {
        updctl schedule list 2>/dev/null | awk 'NR > 1 {print $1}'
}

_updctl() {
        local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb= word
        COMPREPLY=()
        for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
                case $word in
                -*) ;;
                *)
                        verb=$word
                        break
                        ;;
                esac
        done
        case $previous in
        --socket | --token-file | --output | -o)
                compopt -o default
                return
                ;;
        --state)
                COMPREPLY=($(compgen -W "queued running waiting rolling_back succeeded failed \
                        rolled_back cancelled stuck abandoned unfinished" -- "$cur"))
                return
                ;;
        --format)
                COMPREPLY=($(compgen -W "markdown html json" -- "$cur"))
                return
                ;;
        --role)
                COMPREPLY=($(compgen -W "view operate admin" -- "$cur"))
                return
                ;;
        --missed)
                COMPREPLY=($(compgen -W "run skip" -- "$cur"))
                return
                ;;
        --plan)
                COMPREPLY=($(compgen -W "$(_updctl_plans)" -- "$cur"))
                [[ $verb != retry ]] || compopt -o default
                return
                ;;
        add) [[ $verb == schedule ]] && return ;;
        remove | run-now | show)
                if [[ $verb == schedule ]]; then
                        COMPREPLY=($(compgen -W "$(_updctl_schedules)" -- "$cur"))
                        return
                fi
                ;;
        esac
        if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W "$(updctl help $verb 2>/dev/null |
                        grep -o -- '--[a-z][a-z-]*')" -- "$cur"))
                return
        fi
        case $verb in
        "") COMPREPLY=($(compgen -W "$(_updctl_words)" -- "$cur")) ;;
        help) COMPREPLY=($(compgen -W "$(_updctl_words)" -- "$cur")) ;;
        lint) compopt -o default ;;
        show | start)
                COMPREPLY=($(compgen -W "$(_updctl_plans)" -- "$cur"))
                [[ $verb == show ]] || compopt -o default
                ;;
        schedule) COMPREPLY=($(compgen -W "add list show remove run-now" -- "$cur")) ;;
        token) COMPREPLY=($(compgen -W "add list remove" -- "$cur")) ;;
        plans | list | health) ;;
        *) COMPREPLY=($(compgen -W "$(_updctl_jobs)" -- "$cur")) ;;
        esac
}
complete -F _updctl updctl
