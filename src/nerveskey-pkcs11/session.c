/*
 * Sessions: a table of handles under the gate, and what each has under way. A call that is inside keeps its session alive, whoever closes it meanwhile.
 */
#include "module.h"

#include <stdlib.h>

/* Handle: a serial number above, the table's place below; never 0, and an old handle does not name a new session for a long time. */
static CK_SESSION_HANDLE handle_of(CK_ULONG serial, size_t place) { return serial * SESSIONS_MAX + place; }
static size_t place_of(CK_SESSION_HANDLE handle) { return handle % SESSIONS_MAX; }

void session_free(struct session *s)
{
	free(s->found);
	explicit_bzero(&s->sign, sizeof s->sign);
	explicit_bzero(&s->digest, sizeof s->digest);
	lock_fini(&s->lock);
	free(s);
}

static CK_RV session_new(struct module *m, struct slot *slot, CK_FLAGS flags, struct session **out)
{
	struct session *s = calloc(1, sizeof *s);
	if (!s)
		return CKR_HOST_MEMORY;
	CK_RV rv = lock_init(&s->lock, &m->locking);
	if (rv != CKR_OK) {
		free(s);
		return rv;
	}
	s->module = m;
	s->slot = slot;
	s->flags = flags;
	memcpy(s->chip_serial, slot->info.chip_serial, sizeof s->chip_serial);
	*out = s;
	return CKR_OK;
}

static CK_RV enlist(struct module *m, struct session *s)
{
	CK_RV rv = CKR_SESSION_COUNT;
	module_gate_close();
	for (size_t place = 0; place < SESSIONS_MAX; place++) {
		if (m->sessions[place])
			continue;
		s->handle = handle_of(++m->session_serial, place);
		m->sessions[place] = s;
		s->slot->sessions++;
		s->slot->rw_sessions += !!(s->flags & CKF_RW_SESSION);
		rv = CKR_OK;
		break;
	}
	module_gate_open();
	return rv;
}

CK_RV session_open(struct module *m, CK_SLOT_ID id, CK_FLAGS flags, CK_SESSION_HANDLE *out)
{
	struct slot *slot = NULL;
	struct session *s = NULL;
	if (!out)
		return CKR_ARGUMENTS_BAD;
	if (!(flags & CKF_SERIAL_SESSION))
		return CKR_SESSION_PARALLEL_NOT_SUPPORTED;
	CK_RV rv = slot_enter(m, id, &slot);
	if (rv != CKR_OK)
		return rv;
	rv = token_look(slot);
	if (rv == CKR_OK)
		rv = session_new(m, slot, flags & (CKF_SERIAL_SESSION | CKF_RW_SESSION), &s);
	if (rv == CKR_OK) {
		rv = enlist(m, s);
		if (rv == CKR_OK)
			*out = s->handle;
		else
			session_free(s);
	}
	slot_leave(slot);
	return rv;
}

/* Out of the table; the gate is closed. Whether nobody is inside, so that the caller frees it. */
static bool delist(struct module *m, struct session *s)
{
	m->sessions[place_of(s->handle)] = NULL;
	s->slot->sessions--;
	s->slot->rw_sessions -= !!(s->flags & CKF_RW_SESSION);
	s->closed = true;
	return s->users == 0;
}

/* What dies with a session, and with a token's last one. */
static void after_close(struct slot *slot, CK_SESSION_HANDLE handle)
{
	if (lock_take(&slot->lock) != CKR_OK)
		return;
	secret_drop(slot, handle, 0);
	module_gate_close();
	if (slot->sessions == 0)
		slot->logged_in = false;
	module_gate_open();
	lock_give(&slot->lock);
}

static struct session *find(struct module *m, CK_SESSION_HANDLE handle)
{
	struct session *s = m->sessions[place_of(handle)];
	return s && s->handle == handle ? s : NULL;
}

CK_RV session_close(struct module *m, CK_SESSION_HANDLE handle)
{
	module_gate_close();
	struct session *s = find(m, handle);
	struct slot *slot = s ? s->slot : NULL;
	bool ours = s && delist(m, s);
	module_gate_open();
	if (!slot)
		return CKR_SESSION_HANDLE_INVALID;
	after_close(slot, handle);
	if (ours)
		session_free(s);
	return CKR_OK;
}

CK_RV session_close_all(struct module *m, CK_SLOT_ID id)
{
	size_t known = 0;
	for (size_t i = 0; i < m->slot_count; i++)
		known += m->slots[i].set.id == id;
	if (known == 0)
		return CKR_SLOT_ID_INVALID;
	for (size_t place = 0; place < SESSIONS_MAX; place++) {
		module_gate_close();
		struct session *s = m->sessions[place];
		CK_SESSION_HANDLE handle = s && s->slot->set.id == id ? s->handle : 0;
		module_gate_open();
		if (handle != 0)
			(void)session_close(m, handle); /* closed by another thread meanwhile: just as well */
	}
	return CKR_OK;
}

CK_RV session_enter(CK_SESSION_HANDLE handle, struct session **out)
{
	struct module *m = NULL;
	CK_RV rv = module_enter(&m);
	if (rv != CKR_OK)
		return rv;
	module_gate_close();
	struct session *s = find(m, handle);
	if (s)
		s->users++;
	module_gate_open();
	if (!s) {
		module_leave(m);
		return CKR_SESSION_HANDLE_INVALID;
	}
	rv = lock_take(&s->lock);
	if (rv == CKR_OK) {
		*out = s;
		return CKR_OK;
	}
	module_gate_close();
	bool last = --s->users == 0 && s->closed;
	module_gate_open();
	if (last)
		session_free(s);
	module_leave(m);
	return rv;
}

void session_leave(struct session *s)
{
	struct module *m = s->module;
	lock_give(&s->lock);
	module_gate_close();
	bool last = --s->users == 0 && s->closed;
	module_gate_open();
	if (last)
		session_free(s);
	module_leave(m);
}

CK_RV session_chip(struct session *s)
{
	CK_RV rv = lock_take(&s->slot->lock);
	if (rv != CKR_OK)
		return rv;
	rv = token_same(s->slot, s->chip_serial);
	if (rv != CKR_OK)
		lock_give(&s->slot->lock);
	return rv;
}

void session_chip_leave(struct session *s) { lock_give(&s->slot->lock); }

CK_RV session_info(struct session *s, CK_SESSION_INFO *out)
{
	if (!out)
		return CKR_ARGUMENTS_BAD;
	CK_RV rv = lock_take(&s->slot->lock);
	if (rv != CKR_OK)
		return rv;
	bool writing = s->flags & CKF_RW_SESSION;
	*out = (CK_SESSION_INFO){.slotID = s->slot->set.id, .flags = s->flags};
	if (s->slot->logged_in)
		out->state = writing ? CKS_RW_USER_FUNCTIONS : CKS_RO_USER_FUNCTIONS;
	else
		out->state = writing ? CKS_RW_PUBLIC_SESSION : CKS_RO_PUBLIC_SESSION;
	lock_give(&s->slot->lock);
	return CKR_OK;
}

/* A NervesKey has no PIN: whoever reaches the bus may use the key. A user who logs in all the same is told what he wants to hear, any PIN will do; there is no security officer. */
CK_RV session_login(struct session *s, CK_USER_TYPE user)
{
	if (user != CKU_USER)
		return user == CKU_CONTEXT_SPECIFIC ? CKR_OPERATION_NOT_INITIALIZED : CKR_USER_TYPE_INVALID;
	CK_RV rv = lock_take(&s->slot->lock);
	if (rv != CKR_OK)
		return rv;
	rv = s->slot->logged_in ? CKR_USER_ALREADY_LOGGED_IN : CKR_OK;
	s->slot->logged_in = true;
	lock_give(&s->slot->lock);
	return rv;
}

CK_RV session_logout(struct session *s)
{
	CK_RV rv = lock_take(&s->slot->lock);
	if (rv != CKR_OK)
		return rv;
	rv = s->slot->logged_in ? CKR_OK : CKR_USER_NOT_LOGGED_IN;
	s->slot->logged_in = false;
	lock_give(&s->slot->lock);
	return rv;
}
