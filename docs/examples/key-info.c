/*
 * Says which NervesKey is on a bus, with its certificates in PEM: key-info BUS (i2c-1, sim:/run/sim.sock, ...)
 *
 * cc -o key-info key-info.c $(pkg-config --cflags --libs libnerveskey)
 */
#include <stdio.h>

#include "base/pem.h"
#include "nerveskey/nerveskey.h"
#include "nerveskey/settings.h"

static nh_rc put_certificates(struct nh_nerveskey *key, struct nh_buf *out, struct nh_err *err)
{
	struct nh_buf device = NH_BUF_INIT, signer = NH_BUF_INIT;
	nh_rc rc = nh_nerveskey_device_certificate(key, NH_NERVESKEY_PRIMARY, &device, err);
	if (rc == NH_OK)
		rc = nh_nerveskey_signer_certificate(key, NH_NERVESKEY_PRIMARY, &signer, err);
	if (rc == NH_OK) {
		nh_pem_put(out, "CERTIFICATE", nh_buf_slice(&device));
		nh_pem_put(out, "CERTIFICATE", nh_buf_slice(&signer));
	}
	nh_buf_fini(&device);
	nh_buf_fini(&signer);
	return rc;
}

static nh_rc put_settings(struct nh_nerveskey *key, struct nh_buf *out, struct nh_err *err)
{
	struct nh_buf bytes = NH_BUF_INIT;
	nh_rc rc = nh_nerveskey_settings_read(key, &bytes, err);
	if (rc == NH_OK) {
		nh_buf_put_str(out, "settings: ");
		rc = nh_nerveskey_settings_to_json(nh_buf_slice(&bytes), false, out, err);
		if (rc == NH_ENOTFOUND) { /* never written: no failure */
			nh_buf_put_str(out, "none");
			rc = NH_OK;
		}
		nh_buf_put_str(out, "\n");
	}
	nh_buf_fini(&bytes);
	return rc;
}

static nh_rc inform(const char *bus, struct nh_buf *out, struct nh_err *err)
{
	struct nh_nerveskey *key;
	struct nh_nerveskey_info info;
	NH_TRY(nh_nerveskey_open(bus, &key, err));
	nh_rc rc = nh_nerveskey_info_read(key, &info, err);
	if (rc == NH_OK)
		nh_buf_printf(out, "chip: %s\nprovisioned: %s\nserial number: %s\n", nh_atecc_model_name(info.model), info.state.data_locked ? "yes" : "no", info.manufacturer_serial);
	if (rc == NH_OK && info.state.data_locked)
		rc = put_settings(key, out, err);
	if (rc == NH_OK && info.state.data_locked)
		rc = put_certificates(key, out, err);
	nh_nerveskey_close(key);
	return rc;
}

int main(int argc, char **argv)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_buf out = NH_BUF_INIT;
	if (argc != 2) {
		fprintf(stderr, "usage: key-info BUS\n");
		return 2;
	}
	nh_rc rc = inform(argv[1], &out, &err);
	if (rc == NH_OK)
		fputs(nh_buf_cstr(&out), stdout);
	else
		fprintf(stderr, "key-info: %s\n", err.msg);
	nh_buf_fini(&out);
	return rc == NH_OK ? 0 : 1;
}
