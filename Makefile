# The two commands are `make run` and `make test`; both install what they need (as root, from Debian's packages).
.PHONY: run test bench chaos fuzz lint doc deps deps-run deps-test deps-bench clean help

CARGO ?= cargo

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: deps-run ## Build everything and run it for a trial: sink, daemon and nginx, until Ctrl-C
	$(CARGO) build --release --locked
	@exec tests/run.sh target/release/pillion

test: deps-test ## Run every check and every test
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet
	$(CARGO) test --locked

bench: deps-bench ## Measure, each figure against a baseline of the same run
	$(CARGO) bench --locked --bench log
	$(CARGO) bench --locked --bench ship
	$(CARGO) bench --locked --bench ingest
	$(CARGO) bench --locked --bench relay
	$(CARGO) bench --locked --bench journal
	$(CARGO) bench --locked --bench store
	$(CARGO) bench --locked --bench gateway

chaos: ## Let everything go wrong that can, and say what is lost: a table, and exit code 1 when a promise breaks
	$(CARGO) bench --locked --bench chaos

FUZZ_SECONDS ?= 60

fuzz: ## Feed every codec what a fuzzer thinks of, FUZZ_SECONDS each (needs the nightly toolchain and cargo-fuzz)
	@for target in $$($(CARGO) +nightly fuzz list); do \
		echo "== $$target" && \
		$(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 \
			-verbosity=0 -print_final_stats=1 || exit 1; \
	done

deps: deps-run deps-test deps-bench ## Install what running, testing and measuring need

deps-run:
	@tests/install.sh nginx=nginx openssl=openssl

deps-test:
	@tests/install.sh nginx=nginx openssl=openssl node=nodejs npm=npm curl=curl systemd-analyze=systemd \
		/usr/lib/nginx/modules/ngx_http_lua_module.so=libnginx-mod-http-lua
	@npm --prefix tests/sdk ci --ignore-scripts --no-audit --no-fund --loglevel=error

# The library's folder has the name of the machine's architecture in it.
deps-bench:
	@tests/install.sh nginx=nginx openssl=openssl \
		/usr/lib/nginx/modules/ngx_nchan_module.so=libnginx-mod-nchan \
		rsyslogd=rsyslog "$$(echo /usr/lib/*/rsyslog)/lmnsd_ossl.so=rsyslog-openssl"

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf tests/sdk/node_modules
