/*
 * Errors of the chip's driver as PKCS#11 results, by table, and the results' names.
 */
#include "module.h"

static const struct {
	nh_rc rc;
	CK_RV looking;    /* for a token */
	CK_RV in_session; /* with one that was there */
} errors[] = {
	{NH_OK, CKR_OK, CKR_OK},
	{NH_ENOTFOUND, CKR_TOKEN_NOT_PRESENT, CKR_DEVICE_REMOVED},       /* no bus, no simulator, no answer to wake */
	{NH_EINVAL, CKR_TOKEN_NOT_PRESENT, CKR_GENERAL_ERROR},
	{NH_EPERM, CKR_DEVICE_ERROR, CKR_FUNCTION_REJECTED},             /* no permission for the bus; the chip refuses in its present state */
	{NH_EUNSUPPORTED, CKR_TOKEN_NOT_PRESENT, CKR_FUNCTION_REJECTED}, /* an SMBus adapter; the chip does not know the command */
	{NH_ETIMEOUT, CKR_DEVICE_ERROR, CKR_DEVICE_ERROR},               /* the bus is held, or no answer in time */
	{NH_EIO, CKR_DEVICE_ERROR, CKR_DEVICE_ERROR},
	{NH_ECONFLICT, CKR_TOKEN_NOT_PRESENT, CKR_DEVICE_REMOVED},       /* another chip in its place */
	{NH_ECLOSED, CKR_TOKEN_NOT_PRESENT, CKR_DEVICE_REMOVED},
	{NH_EFORMAT, CKR_TOKEN_NOT_RECOGNIZED, CKR_DEVICE_ERROR},
	{NH_EAUTH, CKR_TOKEN_NOT_RECOGNIZED, CKR_DEVICE_ERROR},
	{NH_EINTERNAL, CKR_DEVICE_ERROR, CKR_DEVICE_ERROR},
	{NH_ENOMEM, CKR_HOST_MEMORY, CKR_HOST_MEMORY},
};

CK_RV error_looking(nh_rc rc)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(errors); i++)
		if (errors[i].rc == rc)
			return errors[i].looking;
	return CKR_GENERAL_ERROR;
}

CK_RV error_in_session(nh_rc rc)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(errors); i++)
		if (errors[i].rc == rc)
			return errors[i].in_session;
	return CKR_GENERAL_ERROR;
}

#define N(name) {name, #name}
static const struct {
	CK_RV rv;
	const char *name;
} names[] = {
	N(CKR_OK), N(CKR_HOST_MEMORY), N(CKR_SLOT_ID_INVALID), N(CKR_GENERAL_ERROR), N(CKR_FUNCTION_FAILED), N(CKR_ARGUMENTS_BAD), N(CKR_NO_EVENT), N(CKR_ACTION_PROHIBITED),
	N(CKR_ATTRIBUTE_SENSITIVE), N(CKR_ATTRIBUTE_TYPE_INVALID), N(CKR_ATTRIBUTE_VALUE_INVALID), N(CKR_DATA_LEN_RANGE), N(CKR_DEVICE_ERROR), N(CKR_DEVICE_REMOVED),
	N(CKR_FUNCTION_NOT_PARALLEL), N(CKR_FUNCTION_NOT_SUPPORTED), N(CKR_FUNCTION_REJECTED), N(CKR_KEY_HANDLE_INVALID), N(CKR_KEY_SIZE_RANGE), N(CKR_KEY_TYPE_INCONSISTENT),
	N(CKR_KEY_INDIGESTIBLE), N(CKR_KEY_FUNCTION_NOT_PERMITTED), N(CKR_MECHANISM_INVALID), N(CKR_MECHANISM_PARAM_INVALID), N(CKR_OBJECT_HANDLE_INVALID),
	N(CKR_OPERATION_ACTIVE), N(CKR_OPERATION_NOT_INITIALIZED), N(CKR_SESSION_COUNT), N(CKR_SESSION_HANDLE_INVALID), N(CKR_SESSION_PARALLEL_NOT_SUPPORTED),
	N(CKR_SIGNATURE_INVALID), N(CKR_SIGNATURE_LEN_RANGE), N(CKR_TEMPLATE_INCOMPLETE), N(CKR_TEMPLATE_INCONSISTENT), N(CKR_TOKEN_NOT_PRESENT), N(CKR_TOKEN_NOT_RECOGNIZED),
	N(CKR_TOKEN_WRITE_PROTECTED), N(CKR_USER_ALREADY_LOGGED_IN), N(CKR_USER_NOT_LOGGED_IN), N(CKR_USER_TYPE_INVALID), N(CKR_RANDOM_SEED_NOT_SUPPORTED),
	N(CKR_BUFFER_TOO_SMALL), N(CKR_CRYPTOKI_NOT_INITIALIZED), N(CKR_CRYPTOKI_ALREADY_INITIALIZED), N(CKR_CANT_LOCK),
};

const char *error_name(CK_RV rv)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++)
		if (names[i].rv == rv)
			return names[i].name;
	return "another result";
}
