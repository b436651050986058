/*
 * Progress of uploads and downloads: one line on stderr that redraws itself, at most ten times a second, and only where a person looks.
 */
#include "base/clock.h"
#include "cli_int.h"

#define REDRAW_MS 100
#define WIDTH 24

static const char *amount(uint64_t bytes, char text[32])
{
	if (bytes >= 1 << 20)
		snprintf(text, 32, "%.1f MiB", (double)bytes / (1 << 20));
	else
		snprintf(text, 32, "%.1f KiB", (double)bytes / 1024);
	return text;
}

void cli_progress_update(struct cli_progress *p, uint64_t done, uint64_t total)
{
	uint64_t now = nh_mono_ms();
	bool finished = total && done == total;
	p->done = done;
	if (!p->c->io->err_terminal || p->finished || (p->shown && now - p->shown_at_ms < REDRAW_MS && !finished))
		return;
	char bar[WIDTH + 1], a[32], b[32];
	unsigned filled = total ? (unsigned)((double)done / (double)total * WIDTH) : 0;
	for (unsigned i = 0; i < WIDTH; i++)
		bar[i] = i < filled ? '#' : '.';
	bar[WIDTH] = 0;
	if (total)
		cli_note(p->c, "\r%s %.40s [%s] %3u%%  %s of %s\x1b[K", p->verb, p->name, bar, (unsigned)((double)done * 100 / (double)total), amount(done, a),
			 amount(total, b));
	else
		cli_note(p->c, "\r%s %.40s  %s\x1b[K", p->verb, p->name, amount(done, a));
	p->shown_at_ms = now;
	p->shown = true;
	p->finished = finished;
}

void cli_progress_end(struct cli_progress *p)
{
	if (p->shown)
		cli_note(p->c, "\n");
	p->shown = false;
}
