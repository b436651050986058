/*
 * Completion for shells: a few lines of shell ask `nh __complete WORDS…`, whose last word is the unfinished one, and the answer comes from the command table: words
 * of commands, flags, fixed values, and, where a row says <device> or <firmware>, names that the server is asked for. Candidates are lines "word TAB description";
 * the last line says whether files fit, too. Nothing is ever said on stderr, and a server that does not answer within two seconds (NERVES_HUB_COMPLETION_TIMEOUT)
 * offers nothing.
 *
 * source: reference/user-api-and-cli "18.1"
 */
#include <dirent.h>

#include "base/encode.h"
#include "cli_int.h"

#define TIMEOUT_S 2
#define TIMEOUT_MAX_S 600
#define CANDIDATES_MAX 200

struct completion {
	struct nh_cli *c;
	const char *word; /* the unfinished one */
	const char *lead; /* in front of each candidate: "--org=" */
	bool files;
	size_t count;
};

/* No control characters: lines and tabs are our own, and the rest is a terminal's. */
static bool harmless(nh_slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] < ' ' || text.ptr[i] == 0x7F)
			return false;
	return true;
}

static void offer(struct completion *k, nh_slice word, const char *help)
{
	if (!nh_slice_starts(word, nh_slice_str(k->word)) || k->count >= CANDIDATES_MAX || !harmless(word))
		return;
	bool helps = *help && harmless(nh_slice_str(help));
	cli_out(k->c, "%s%.*s%s%s\n", k->lead, NH_ARG(word), helps ? "\t" : "", helps ? help : "");
	k->count++;
}

/* ---- values ---------------------------------------------------------------------------------------------------------------- */

/* What the server knows: the member of each object of a list. */
static const struct noun {
	const char *word;
	unsigned needs;
	const char *route, *member, *help; /* help: another member, or NULL */
} nouns[] = {
	{"org", CLI_NEEDS_TOKEN, "orgs", "name", NULL},
	{"product", CLI_IN_ORG, CLI_ORG "/products", "name", NULL},
	{"key", CLI_IN_ORG, CLI_ORG "/keys", "name", NULL},
	{"email", CLI_IN_ORG, CLI_ORG "/users", "email", "name"},
	{"endpoint", CLI_IN_ORG, CLI_ORG "/iroh_endpoints", "identifier", NULL},
	{"webhook", CLI_IN_ORG, CLI_ORG "/webhooks", "id", "url"},
	{"delivery", CLI_IN_ORG, CLI_ORG "/webhooks/:1/deliveries", "id", "type"},
	{"ca-serial", CLI_IN_ORG, CLI_ORG "/ca_certificates", "serial", "description"},
	{"issued-serial", CLI_IN_ORG, CLI_ORG "/authority/certificates", "serial", "subject"},
	{"own-serial", CLI_NEEDS_TOKEN, "users/me/certificates", "serial", "subject"},
	{"token-id", CLI_NEEDS_TOKEN, "users/me/tokens", "id", "note"},
	{"session-id", CLI_NEEDS_TOKEN, "users/me/sessions", "id", "browser"},
	{"invite-id", CLI_IN_ORG, CLI_ORG "/invites", "id", "email"},
	{"device-secret", CLI_IN_PRODUCT, CLI_DEVICE "/shared_secrets", "key", NULL},
	{"device", CLI_IN_PRODUCT, CLI_PRODUCT "/devices", "identifier", "description"},
	{"firmware", CLI_IN_PRODUCT, CLI_PRODUCT "/firmwares", "uuid", "version"},
	{"source", CLI_IN_PRODUCT, CLI_PRODUCT "/firmwares", "uuid", "version"},
	{"archive", CLI_IN_PRODUCT, CLI_PRODUCT "/archives", "uuid", "version"},
	{"deployment", CLI_IN_PRODUCT, CLI_PRODUCT "/deployments", "name", NULL},
	{"script", CLI_IN_PRODUCT, CLI_PRODUCT "/scripts", "id", "name"},
	{"script-name", CLI_IN_PRODUCT, CLI_PRODUCT "/scripts", "name", NULL},
	{"secret", CLI_IN_PRODUCT, CLI_PRODUCT "/shared_secrets", "key", NULL},
	{"serial", CLI_IN_PRODUCT, CLI_DEVICE "/certificates", "serial", NULL},
};

/* Files of the data directory: <folder>/<org>/NAME<suffix> */
static const struct {
	const char *word, *folder, *suffix;
} local_nouns[] = {{"local-key", "keys", ".priv"}, {"ca", "ca", "-cert.pem"}};

static const struct {
	const char *word, *values; /* with bars; NULL: files */
} fixed_nouns[] = {{"role", "admin|manage|view"}, {"setting", "uri|org|product"}, {"service", "iroh|netbird|tailscale|wireguard"},
		   {"bulk-action", "set_tags|enable_updates|disable_updates|set_deployment|clear_deployment|move|clear_penalty|upgrade|reboot|reconnect|delete"}, {"shell", "bash|zsh|fish"}, {"bool", "true|false"},
		   {"file", NULL}, {"dir", NULL}};

static void offer_each(struct completion *k, const char *values)
{
	nh_slice word, rest = nh_slice_str(values);
	for (bool more = rest.len > 0; more;) {
		more = nh_slice_cut(rest, '|', &word, &rest);
		offer(k, word, "");
	}
}

/* A text, or a number. */
static nh_slice name_of(struct nh_cli *c, const json_t *row, const char *member)
{
	const json_t *value = json_object_get(row, member);
	return json_is_integer(value) ? nh_slice_str(nh_arena_printf(&c->arena, "%lld", (long long)json_integer_value(value))) : nh_json_text(row, member);
}

static void offer_from_server(struct completion *k, const struct noun *noun)
{
	struct nh_cli *c = k->c;
	NH_AUTO_BUF struct nh_buf query = NH_BUF_INIT;
	NH_AUTO_JSON json_t *answer = NULL;
	size_t i;
	json_t *row;
	/* A serial's device is the argument before it. */
	if (cli_require(c, noun->needs, NULL) != NH_OK || (strstr(noun->route, ":1") && c->arg_count < 1))
		return;
	if (nh_slice_eq_str(NH_LIT("device"), noun->word)) {
		cli_put_query(&query, "pagination[page_size]", "100");
		if (*k->word)
			cli_put_query(&query, "filters[identifier]", k->word);
	}
	uint64_t seconds = TIMEOUT_S;
	const char *patience = cli_env(c, "COMPLETION_TIMEOUT");
	if (patience)
		NH_IGNORE(nh_parse_u64(nh_slice_str(patience), 1, TIMEOUT_MAX_S, &seconds)); /* no number: as without it */
	c->timeout_ms = (long)seconds * 1000;
	if (cli_api(c, &(struct cli_request){"GET", cli_fill(c, noun->route, true), nh_buf_cstr(&query)}, &answer, NULL) != NH_OK)
		return;
	json_array_foreach(json_object_get(answer, "data"), i, row)
		offer(k, name_of(c, row, noun->member), noun->help ? cli_get(row, noun->help) : "");
}

static void offer_from_folder(struct completion *k, const char *folder, const char *suffix)
{
	DIR *dir = k->c->org ? opendir(cli_path(k->c, folder, "")) : NULL;
	for (const struct dirent *e; dir && (e = readdir(dir));) {
		nh_slice name = nh_slice_str(e->d_name);
		if (nh_slice_ends(name, nh_slice_str(suffix)))
			offer(k, nh_slice_sub(name, 0, name.len - strlen(suffix)), "");
	}
	if (dir)
		closedir(dir);
}

static void offer_profiles(struct completion *k)
{
	const char *name;
	json_t *value;
	json_object_foreach(json_object_get(k->c->settings.root, "profiles"), name, value) offer(k, nh_slice_str(name), "");
}

/* noun: of a row's arguments, or a flag's value in capitals. */
static void offer_values(struct completion *k, nh_slice noun)
{
	if (nh_slice_chr(noun, '|') >= 0) {
		offer_each(k, nh_arena_str(&k->c->arena, noun));
		return;
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(fixed_nouns); i++)
		if (nh_slice_ieq(noun, nh_slice_str(fixed_nouns[i].word))) {
			k->files |= !fixed_nouns[i].values;
			offer_each(k, fixed_nouns[i].values ? fixed_nouns[i].values : "");
		}
	for (size_t i = 0; i < NH_ARRAY_LEN(local_nouns); i++)
		if (nh_slice_ieq(noun, nh_slice_str(local_nouns[i].word)))
			offer_from_folder(k, local_nouns[i].folder, local_nouns[i].suffix);
	for (size_t i = 0; i < NH_ARRAY_LEN(nouns); i++)
		if (nh_slice_ieq(noun, nh_slice_str(nouns[i].word)))
			offer_from_server(k, &nouns[i]);
	if (nh_slice_ieq(noun, NH_LIT("profile")))
		offer_profiles(k);
}

/* ---- words ----------------------------------------------------------------------------------------------------------------- */

/* The next words of commands below those that were typed. */
static void offer_commands(struct completion *k, nh_slice group)
{
	for (size_t i = 0; cli_row(i); i++) {
		bool deeper = false;
		nh_slice word = cli_new_word(i, group, &deeper);
		if (word.len)
			offer(k, word, deeper ? "" : cli_row(i)->help);
	}
}

static void offer_flags(struct completion *k)
{
	for (size_t i = 0; i < k->c->flag_count; i++)
		offer(k, nh_slice_str(nh_arena_printf(&k->c->arena, "--%s", k->c->flags[i]->name)), k->c->flags[i]->help);
}

static void offer_argument(struct completion *k, int index)
{
	nh_slice word, rest = nh_slice_str(k->c->command->args);
	for (; rest.len && index >= 0; index--) {
		nh_slice_cut(rest, ' ', &word, &rest);
		if (index == 0)
			offer_values(k, nh_slice_sub(word, 1, word.len - 2));
	}
}

/* The command's words as typed, without what they stand for: "device certs" gives "device certificates". */
static nh_slice group_of(struct nh_cli *c, int argc, char **argv)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] == '-') {
			i += cli_value_follows(argv[i]);
			continue;
		}
		const char *word = cli_word(nh_buf_slice(&path), argv[i]);
		nh_buf_printf(&path, "%s%s", path.len ? " " : "", word);
	}
	return nh_arena_copy(&c->arena, nh_buf_slice(&path));
}

static void complete(struct completion *k, int argc, char **argv, char **rest, int depth)
{
	struct nh_cli *c = k->c;
	nh_slice name, value, word = nh_slice_str(k->word);
	const char *before = argc > 1 ? argv[argc - 1] : "";
	if (before[0] == '-' && cli_value_follows(before)) {
		const struct cli_flag *f = cli_flag_named(c->command ? c->command->flags : NULL, nh_slice_str(before + 1 + (before[1] == '-')));
		f = f ? f : cli_flag_anywhere(nh_slice_str(before + 1 + (before[1] == '-')));
		offer_values(k, nh_slice_str(f->value));
	} else if (nh_slice_starts(word, NH_LIT("--")) && nh_slice_cut(nh_slice_skip(word, 2), '=', &name, &value)) {
		const struct cli_flag *f = cli_flag_named(c->command ? c->command->flags : NULL, name);
		f = f ? f : cli_flag_anywhere(name);
		k->lead = nh_arena_printf(&c->arena, "--%.*s=", NH_ARG(name));
		k->word = nh_arena_str(&c->arena, value);
		if (f && f->value)
			offer_values(k, nh_slice_str(f->kind == CLI_BOOL ? "bool" : f->value));
	} else if (k->word[0] == '-') {
		offer_flags(k);
	} else if (!c->command && c->arg_count == 0) {
		offer_commands(k, depth ? group_of(c, argc, argv) : NH_SLICE_EMPTY);
	} else if (c->command) {
		offer_argument(k, c->arg_count);
	}
}

/* Works in a context of its own, made of the unfinished command line. */
static nh_rc run_complete(struct nh_cli *c, struct nh_err *err)
{
	struct nh_cli line = {.io = c->io};
	int argc = c->arg_count ? c->arg_count : 1, depth = 0, rest_count = 0;
	char **argv = NH_NEW_ARRAY(&line.arena, (size_t)argc + 1, char *), **rest = NH_NEW_ARRAY(&line.arena, (size_t)argc + 2, char *);
	struct completion k = {.c = &line, .word = c->arg_count ? c->args[c->arg_count - 1] : "", .lead = ""};
	argv[0] = rest[0] = nh_arena_str(&line.arena, NH_LIT("nh"));
	for (int i = 1; i < argc; i++)
		argv[i] = c->args[i - 1];
	line.command = cli_find(argc, argv, &depth, rest, &rest_count);
	cli_use_flags(&line);
	/* A flag without its value is no error here, and the value is what is asked for. */
	if (rest_count > 1 && cli_value_follows(rest[rest_count - 1]))
		rest_count--;
	bool fine = nh_option_parse(cli_options(&line), rest_count, rest, &line.arg_count, NULL) == NH_OK;
	line.args = rest + 1;
	const struct cli_command *command = line.command;
	static const struct cli_command any = {.path = "", .args = "", .needs = CLI_IN_PRODUCT};
	line.command = command ? command : &any; /* the scope may come from the project */
	fine = fine && cli_resolve(&line, NULL) == NH_OK;
	line.command = command;
	if (fine)
		complete(&k, argc, argv, rest, depth);
	cli_out(c, ":%s\n", k.files ? "files" : "words");
	cli_close(&line);
	return NH_OK;
}

/* ---- shells ---------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *shell, *text;
} shells[] = {
	{"bash", /* = and : are words of their own there: they are put together again, and what bash keeps of the word is cut off */
	 "# bash completion for nh\n"
	 "_nh() {\n"
	 "    local words=() word line i last= cut=\n"
	 "    COMPREPLY=()\n"
	 "    for ((i = 1; i <= COMP_CWORD; i++)); do\n"
	 "        word=${COMP_WORDS[i]}\n"
	 "        if ((${#words[@]})) && [[ $word == [=:]* || $last == *[=:] ]] && [[ $last ]]; then\n"
	 "            cut=${words[-1]}${word#[=:]}\n"
	 "            words[-1]+=$word\n"
	 "        else\n"
	 "            words+=(\"$word\")\n"
	 "        fi\n"
	 "        last=$word\n"
	 "    done\n"
	 "    word=${words[-1]}\n"
	 "    while IFS= read -r line; do\n"
	 "        case $line in\n"
	 "        :files) compopt -o default ;;\n"
	 "        :*) ;;\n"
	 "        *)\n"
	 "            line=${line%%$'\\t'*}\n"
	 "            [[ $word == *[=:]* ]] && line=${line#\"${word%\"${word##*[=:]}\"}\"}\n"
	 "            COMPREPLY+=(\"$(printf %q \"$line\")\")\n"
	 "            ;;\n"
	 "        esac\n"
	 "    done < <(\"${COMP_WORDS[0]}\" __complete -- \"${words[@]}\" 2>/dev/null)\n"
	 "}\n"
	 "complete -F _nh nh\n"},
	{"zsh",
	 "#compdef nh\n"
	 "_nh() {\n"
	 "    local line\n"
	 "    local -a found\n"
	 "    local files=\n"
	 "    for line in \"${(@f)$(\"${words[1]}\" __complete -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\"; do\n"
	 "        case $line in\n"
	 "        :files) files=1 ;;\n"
	 "        :*) ;;\n"
	 "        *$'\\t'*) found+=(\"${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}\") ;;\n"
	 "        *) found+=(\"${line//:/\\\\:}\") ;;\n"
	 "        esac\n"
	 "    done\n"
	 "    (( $#found )) && _describe nh found\n"
	 "    [[ -n $files ]] && _files\n"
	 "}\n"
	 "if [ \"$funcstack[1]\" = _nh ]; then _nh \"$@\"; else compdef _nh nh; fi\n"},
	{"fish",
	 "# fish completion for nh\n"
	 "function __nh_complete\n"
	 "    set -l words (commandline -opc)\n"
	 "    for line in ($words[1] __complete -- $words[2..-1] (commandline -ct) 2>/dev/null)\n"
	 "        switch $line\n"
	 "            case ':files'\n"
	 "                __fish_complete_path (commandline -ct)\n"
	 "            case ':*'\n"
	 "            case '*'\n"
	 "                echo $line\n"
	 "        end\n"
	 "    end\n"
	 "end\n"
	 "complete -c nh -f -a '(__nh_complete)'\n"},
};

static nh_rc run_completion(struct nh_cli *c, struct nh_err *err)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(shells); i++)
		if (nh_slice_eq_str(nh_slice_str(c->args[0]), shells[i].shell)) {
			cli_out(c, "%s", shells[i].text);
			return NH_OK;
		}
	return NH_FAIL(err, NH_EINVAL, "unknown shell \"%.60s\": use bash, zsh or fish", c->args[0]);
}

const struct cli_command cli_completion_commands[] = {
	{"completion", "<shell>", 1, 1, 0, NULL, run_completion, "print the completion for bash, zsh or fish: source <(nh completion bash)"},
	{"__complete", "[word]", 0, 1000, 0, NULL, run_complete, "the words that may stand at the end of this command line"},
	{NULL},
};
