/* SPDX-License-Identifier: Apache-2.0 */
#include "report/report.h"

#include <string.h>

#include "base/fdio.h"
#include "shm/status.h"

static const struct qb_renderer text = { "text", "txt", qb_report_text };
static const struct qb_renderer md = { "md", "md", qb_report_md };
static const struct qb_renderer json = { "json", "json", qb_report_json };

const struct qb_renderer *const qb_renderers[] = { &text, &md, &json, NULL };

const struct qb_renderer *qb_renderer_find(const char *name, struct qb_err *err)
{
	for (size_t i = 0; qb_renderers[i]; i++)
		if (strcmp(qb_renderers[i]->name, name) == 0)
			return qb_renderers[i];
	qb_err_set(err, QB_EUSAGE, "there is no report format \"%s\"; there are text, md and json",
		   name);
	return NULL;
}

int qb_report_write(const struct qb_report *r, const struct qb_renderer *how, const char *path,
		    struct qb_err *err)
{
	struct qb_strbuf out = { 0 };
	int rc;

	how->render(r, &out);
	rc = qb_replace_file(path, qb_strbuf_text(&out), out.bytes, 0644, err);
	qb_strbuf_free(&out);
	return rc < 0 ? qb_err_context(err, "could not write the report") : 0;
}
