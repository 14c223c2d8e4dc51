# SPDX-License-Identifier: Apache-2.0
# Pages to be installed, named one by one; tests/build/clone.tap finds a page that is forgotten.
dist_man_MANS += \
	%D%/man/decode-events.1 \
	%D%/man/qbench-scenario.5 \
	%D%/man/qbench.1
dist_doc_DATA += \
	%D%/cache.md \
	%D%/crash-model.md \
	%D%/design.md \
	%D%/effects.md \
	%D%/interop.md \
	%D%/memory-model.md \
	%D%/shm-layout.md \
	%D%/performance.md \
	%D%/platlib.md \
	%D%/processes.md \
	%D%/summary-json.md \
	%D%/method.md \
	%D%/record-format.md \
	%D%/river.md \
	%D%/river-maintenance.md \
	%D%/security.md \
	%D%/storage.md \
	%D%/style.md \
	%D%/sync.md \
	%D%/unique-keys.md
