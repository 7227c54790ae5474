# make            builds libfcn into target/release
# make demo       labels a photo of a cat and one of a pagoda; needs cargo, cc and python3 with pip.
#                 RUNTIME=openvino runs OpenVINO (docs/providers.md)
# make picture    writes docs/cat.jpg, the README's image, from the demo's output; needs Pillow
# make test       runs every check; needs nothing more than the demo, and lists what it skipped
# make test-aarch64   builds libfcn for 64-bit Arm, and runs its tests, C and C++ programs and the demo with QEMU;
#                 needs Debian's apt (not root) and Linux 6.7; downloads 300 MB. FCN_CPU=cortex-a72 imitates another processor
# make deb-aarch64   the Debian packages for 64-bit Arm, in target/debian (OUT)
# make trainer-aarch64   builds the trainer for 64-bit Arm; downloads 440 MB more
# make fuzz       runs the fuzz targets in fuzz/ for SECONDS=60 in total; ONLY=frame selects one
# make asan       runs the C tests with AddressSanitizer in libfcn and in the programs
# make tsan       the same with ThreadSanitizer; needs rustup component add rust-src
# make miri       runs the tests of libfcn's thread pool and interruption in Miri; needs
#                 rustup component add miri --toolchain nightly
# make bench      compares libfcn with its peers and writes BENCHMARKS.md; 40 minutes on an idle machine.
#                 PEERS="libfcn ort" selects peers, RUNS=5 sets the rounds, QUICK=1 is a short run that
#                 writes to target/bench only; PyTorch is a 3 GB download
# make bench-train   compares training speed with PyTorch's and writes docs/training-speed.md. DATA=FOLDER
#                 adds rows for real photos, RUNS=5 sets the rounds; PyTorch is a 3 GB download
# make gpu-check  runs the checks that need a GPU and writes to target/gpu/out; needs CUDA 13, cuDNN 9 and
#                 python3 with numpy, onnx and pillow (and torch, to compare with); docs/gpu.md
# make install    the command fcn, libfcn, headers, fcn.pc, CMake's files, models, ONNX Runtime and, if
#                 GStreamer's headers are there, its element, below PREFIX (/usr/local) and DESTDIR. The element
#                 attaches labels as metadata if it is built with GStreamer 1.26's analytics library. GStreamer
#                 finds the element by itself if PREFIX is its own, mostly /usr, and else by GST_PLUGIN_PATH.
#                 LIBDIR=lib64 sets the library folder; WITHOUT_ORT=1 leaves ONNX Runtime out; FROM=target/release installs without building (for sudo), and
#                 without the command if it was not built; RUNTIME=openvino installs ONNX Runtime with
#                 OpenVINO, 157 MB (docs/providers.md)
# make deb        Debian packages in target/debian (OUT): libfcn0.1, with ONNX Runtime and models,
#                 libfcn-dev, fcn, with the command, and gstreamer1.0-fcn; needs cargo-deb (cargo install cargo-deb --locked) and dpkg-dev;
#                 DEB_FLAGS=--fast compresses less
# make install-trainer   the trainer below PREFIX, with libtorch and ONNX Runtime; with LIBTORCH=FOLDER it
#                 uses that libtorch in place
# make wheel      builds a wheel of the Python package in target/wheels (OUT), and says which manylinux it
#                 needs; docs/python.md
# make weights    downloads ImageNet weights for training to .deps/weights
# make header     regenerates include/fcn.h from src/ffi
# make abi        regenerates tests/abi/libfcn.abi, the ABI that built programs depend on
# make deps       all native libraries, in .deps; deps-runtime: for the demo only; deps-torch: for the trainer;
#                 deps-openvino: ONNX Runtime with OpenVINO, which no other goal but the tests needs
# make clean      removes target and keeps .deps

PREFIX ?= /usr/local
LIBDIR ?= lib
OUT ?= target/debian
PYTHON ?= python3
TARGET := $(or $(CARGO_TARGET_DIR),target)
LIB := $(or $(FROM),$(TARGET)/release)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SOVERSION := $(basename $(VERSION))
PEERS ?= libfcn ort ort-numpy openvino ncnn opencv pytorch
# The ONNX Runtime of demo and install: empty, or openvino for the one with OpenVINO.
RUNTIME ?=
ifneq ($(filter-out openvino,$(RUNTIME)),)
$(error RUNTIME is $(RUNTIME), and may be openvino or empty)
endif
RUNTIME_PART := onnxruntime$(if $(RUNTIME),-$(RUNTIME))
ORT_DEFAULT := $(CURDIR)/.deps/$(RUNTIME_PART)/lib/libonnxruntime.so.1
# For `make deb`: a machine that the library was built for, if it is not this one.
MACHINE ?=
ORT_FOLDER := .deps/$(if $(MACHINE),$(MACHINE)/)$(RUNTIME_PART)
STRIP := $(if $(MACHINE),.deps/$(MACHINE)/bin/$(MACHINE)-linux-gnu-strip,strip)

.PHONY: build build-cli demo picture test test-aarch64 deb-aarch64 trainer-aarch64 fuzz asan tsan miri bench bench-train gpu-check install install-trainer deb deb-tools weights wheel header abi deps deps-runtime deps-torch deps-openvino clean

build:
	cargo build --release

build-cli: build
	cargo build --release --package fcn-cli

demo: deps-runtime build
	mkdir -p $(TARGET)/demo
	ln -sf ../release/libfcn.so $(TARGET)/demo/libfcn.so.$(SOVERSION)
	$(CC) -O2 -Wall -Wextra -Iinclude examples/segment.c -o $(TARGET)/demo/segment \
		$(TARGET)/demo/libfcn.so.$(SOVERSION) -Wl,-rpath,'$$ORIGIN'
	ORT_DYLIB_PATH="$${ORT_DYLIB_PATH:-$(ORT_DEFAULT)}" \
		$(TARGET)/demo/segment models/animals.onnx .deps/photos/chelsea.png $(TARGET)/demo/cat.png 5 $(or $(RUNTIME),auto)
	ORT_DYLIB_PATH="$${ORT_DYLIB_PATH:-$(ORT_DEFAULT)}" \
		$(TARGET)/demo/segment models/street.onnx .deps/photos/china.jpg $(TARGET)/demo/pagoda.png 5 $(or $(RUNTIME),auto)

picture: demo
	$(PYTHON) -c "from PIL import Image; photo, drawn = (Image.open(name).convert('RGB') for name in \
	('.deps/photos/chelsea.png', '$(TARGET)/demo/cat.png')); both = Image.new('RGB', (2 * photo.width + 8, photo.height), 'white'); \
	both.paste(photo, (0, 0)); both.paste(drawn, (photo.width + 8, 0)); both.save('docs/cat.jpg', quality=90)"

test:
	$(PYTHON) scripts/deps.py onnxruntime onnxruntime-openvino photos libtorch weights python wheels ray
	bash scripts/test.sh

test-aarch64:
	bash scripts/aarch64.sh
	$(PYTHON) scripts/deps.py photos
	$(PYTHON) scripts/deps.py --machine aarch64 onnxruntime
	bash scripts/test_aarch64.sh

fuzz:
	$(PYTHON) scripts/deps.py onnxruntime libtorch
	bash scripts/fuzz.sh $(or $(SECONDS),60) $(ONLY)

asan:
	$(PYTHON) scripts/deps.py onnxruntime
	bash scripts/sanitize.sh address

tsan:
	$(PYTHON) scripts/deps.py onnxruntime
	bash scripts/sanitize.sh thread

miri:
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --package fcn --lib -- pool:: interrupt::

bench: deps-runtime build
	$(PYTHON) scripts/deps.py libtorch weights bench onnxruntime-openvino $(if $(filter pytorch,$(PEERS)),bench-torch)
	mkdir -p $(TARGET)/bench
	ln -sf ../release/libfcn.so $(TARGET)/bench/libfcn.so.$(SOVERSION)
	$(CC) -std=c99 -O2 -Wall -Wextra -Iinclude examples/bench.c -o $(TARGET)/bench/bench \
		$(TARGET)/bench/libfcn.so.$(SOVERSION) -Wl,-rpath,'$$ORIGIN'
	cargo run --package fcn-trainer --example bench_models -- \
		$(TARGET)/bench .deps/weights/efficientnet-lite0-57934424.pth .deps/photos/chelsea.png
	$(PYTHON) scripts/bench.py --peers "$(PEERS)" $(if $(RUNS),--rounds $(RUNS)) $(if $(QUICK),--quick)

bench-train:
	$(PYTHON) scripts/deps.py libtorch bench-torch
	cargo build --release --package fcn-trainer --example bench_train
	$(PYTHON) scripts/bench_train.py $(if $(DATA),--data "$(DATA)") $(if $(RUNS),--rounds $(RUNS))

gpu-check: deps
	$(PYTHON) scripts/gpu/bundle.py
	$(PYTHON) scripts/gpu/check.py target/gpu/bundle target/gpu/out

# Installs the pinned ONNX Runtime even if another one was used to build. Its folder's name has libfcn's
# version, so that two versions of libfcn can be installed together.
install: INSTALL_LIB = $(DESTDIR)$(PREFIX)/$(LIBDIR)
install: INSTALL_MODELS = $(DESTDIR)$(PREFIX)/share/fcn-$(SOVERSION)/models
install: INSTALL_DOC = $(DESTDIR)$(PREFIX)/share/doc/fcn
# The folder where GStreamer looks for plugins, if it has this prefix.
install: PLUGINS = $(if $(filter $(PREFIX),$(shell pkg-config --variable=prefix gstreamer-1.0 2>/dev/null)),$(shell pkg-config --variable=pluginsdir gstreamer-1.0),$(PREFIX)/$(LIBDIR)/gstreamer-1.0)
# The flags for the element's property `metadata`, if this GStreamer has what it needs.
install: ANALYTICS = $(shell pkg-config --exists 'gstreamer-analytics-1.0 >= 1.26' 2>/dev/null && \
	echo -DHAVE_GST_ANALYTICS && pkg-config --cflags --libs gstreamer-analytics-1.0)
install: FILL_IN = sed -e 's|@VERSION@|$(VERSION)|g' -e 's|@SOVERSION@|$(SOVERSION)|g' -e 's|@LIBDIR@|$(LIBDIR)|g' \
	-e 's|@UP@|$(shell echo $(LIBDIR) | sed 's|[^/][^/]*|..|g')|g'
install: $(if $(FROM),,build-cli)
	$(if $(WITHOUT_ORT),,env -u ORT_DYLIB_PATH $(PYTHON) scripts/deps.py $(if $(MACHINE),--machine $(MACHINE)) $(RUNTIME_PART))
	install -d "$(INSTALL_LIB)/pkgconfig" "$(INSTALL_LIB)/cmake/fcn" "$(DESTDIR)$(PREFIX)/include" "$(INSTALL_DOC)" "$(INSTALL_MODELS)"
	install -m 755 $(LIB)/libfcn.so "$(INSTALL_LIB)/libfcn.so.$(VERSION)"
	if [ -e $(LIB)/fcn ]; then install -D -m 755 -s --strip-program=$(STRIP) $(LIB)/fcn "$(DESTDIR)$(PREFIX)/bin/fcn"; fi
	ln -sf libfcn.so.$(VERSION) "$(INSTALL_LIB)/libfcn.so.$(SOVERSION)"
	ln -sf libfcn.so.$(SOVERSION) "$(INSTALL_LIB)/libfcn.so"
	install -m 644 include/fcn.h include/fcn.hpp "$(DESTDIR)$(PREFIX)/include"
	if $(if $(MACHINE),false,pkg-config --exists gstreamer-video-1.0); then \
		install -d "$(DESTDIR)$(PLUGINS)" && \
		$(CC) -std=c11 -O2 -shared -fPIC -Iinclude examples/gstreamer/gstfcn.c -o "$(DESTDIR)$(PLUGINS)/libgstfcn.so" \
			$$(pkg-config --cflags --libs gstreamer-video-1.0) $(ANALYTICS) "$(INSTALL_LIB)/libfcn.so" \
			-Wl,-rpath,'$$ORIGIN/'"$$(realpath -ms --relative-to="$(DESTDIR)$(PLUGINS)" "$(INSTALL_LIB)")" && \
		if [ "$(PLUGINS)" != "$$(pkg-config --variable=pluginsdir gstreamer-1.0)" ]; then \
			echo "GStreamer finds its element fcn with GST_PLUGIN_PATH=$(PLUGINS)"; \
		fi $(if $(ANALYTICS),,&& echo "without the element's property metadata, which needs gstreamer-analytics-1.0 1.26"); \
	else echo "without the GStreamer element, which needs libgstreamer-plugins-base1.0-dev"; fi
	$(FILL_IN) scripts/fcn.pc.in > "$(INSTALL_LIB)/pkgconfig/fcn.pc"
	$(FILL_IN) scripts/fcn-config.cmake.in > "$(INSTALL_LIB)/cmake/fcn/fcn-config.cmake"
	$(FILL_IN) scripts/fcn-config-version.cmake.in > "$(INSTALL_LIB)/cmake/fcn/fcn-config-version.cmake"
	install -m 644 LICENSE-MIT LICENSE-APACHE "$(INSTALL_DOC)"
	install -m 644 models/animals.onnx models/street.onnx models/README.md LICENSE-APACHE "$(INSTALL_MODELS)"
ifndef WITHOUT_ORT
	install -d "$(INSTALL_LIB)/fcn-$(SOVERSION)" "$(INSTALL_DOC)/onnxruntime"
	cp -P $(ORT_FOLDER)/lib/$(if $(RUNTIME),*.so*,libonnxruntime.so.1*) "$(INSTALL_LIB)/fcn-$(SOVERSION)"
	install -m 644 $(ORT_FOLDER)/LICENSE $(ORT_FOLDER)/*.txt "$(INSTALL_DOC)/onnxruntime"
endif

# The trainer finds its libraries relative to itself, so the installed folder can be moved as a whole.
install-trainer: TRAINER_LIB = $(DESTDIR)$(PREFIX)/$(LIBDIR)/trainer-$(SOVERSION)
install-trainer: $(if $(LIBTORCH),,deps-torch)
	env -u ORT_DYLIB_PATH $(PYTHON) scripts/deps.py onnxruntime
	TRAINER_RPATH='$$ORIGIN/../$(LIBDIR)/trainer-$(SOVERSION)$(if $(LIBTORCH),:$(LIBTORCH)/lib)' \
		cargo build --release --package fcn-trainer --target-dir $(TARGET)/install-trainer
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(TRAINER_LIB)"
	install -m 755 -s $(TARGET)/install-trainer/release/trainer "$(DESTDIR)$(PREFIX)/bin/trainer"
	cp -P .deps/onnxruntime/lib/libonnxruntime.so.1* "$(TRAINER_LIB)"
	$(if $(LIBTORCH),,cp -P .deps/libtorch/lib/*.so* "$(TRAINER_LIB)")

# cargo-deb adds the multiarch folder itself, so the packages' files are in target/package/lib.
deb: MULTIARCH = $(if $(MACHINE),$(MACHINE)-linux-gnu,$(shell dpkg-architecture -q DEB_HOST_MULTIARCH))
deb: CARGO_DEB = cargo deb --no-build --output "$(OUT)/" $(DEB_FLAGS) $(if $(MACHINE),--target $(MACHINE)-unknown-linux-gnu)
deb: deb-tools $(if $(FROM),,build-cli)
	rm -rf target/package
	$(MAKE) install FROM=$(LIB) DESTDIR=target/package PREFIX=/usr LIBDIR=lib/$(MULTIARCH)
	ln -s usr/lib/$(MULTIARCH) target/package/lib
	mkdir -p "$(OUT)"
	$(STRIP) --strip-unneeded target/package/lib/libfcn.so.$(VERSION)
	$(CARGO_DEB) --multiarch same --variant library
	$(if $(MACHINE),$(call edit_control,"$(OUT)"/libfcn$(SOVERSION)_*_arm64.deb,'/^Depends:/d; s/^Architecture:.*/&\nDepends: $(ARM_DEPENDS)/'))
	$(CARGO_DEB) --multiarch same --variant dev
	if [ -e target/package/usr/bin/fcn ]; then $(CARGO_DEB) --variant command; fi
	if [ -e target/package/lib/gstreamer-1.0 ]; then $(CARGO_DEB) --multiarch same --variant gstreamer; fi
	if readelf -d target/package/lib/gstreamer-1.0/libgstfcn.so 2> /dev/null | grep -q libgstanalytics; then \
		$(call edit_control,"$(OUT)"/gstreamer1.0-fcn_$(VERSION)-*.deb,'s/^Depends:.*/&$(ANALYTICS_DEPENDS)/'); fi

# FROM names a folder with a libfcn.so for 64-bit Arm, to package it without building.
deb-aarch64 trainer-aarch64: ARM_TARGET = aarch64-unknown-linux-gnu
deb-aarch64: deb-tools
	bash scripts/aarch64.sh
	$(if $(FROM),,RUSTC="$(CURDIR)/.deps/aarch64/bin/rustc" \
		CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$(CURDIR)/.deps/aarch64/bin/aarch64-linux-gnu-gcc" \
		cargo build --release --package fcn --package fcn-cli --target $(ARM_TARGET) --target-dir $(TARGET)/aarch64)
	$(MAKE) deb MACHINE=aarch64 FROM=$(or $(FROM),$(TARGET)/aarch64/$(ARM_TARGET)/release)

trainer-aarch64: ARM = $(CURDIR)/.deps/aarch64
trainer-aarch64:
	bash scripts/aarch64.sh
	$(PYTHON) scripts/deps.py --machine aarch64 onnxruntime libtorch
	RUSTC="$(ARM)/bin/rustc" CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$(ARM)/bin/aarch64-linux-gnu-gcc" \
		CXX_aarch64_unknown_linux_gnu="$(ARM)/bin/aarch64-linux-gnu-g++" LIBTORCH="$(ARM)/libtorch" \
		ORT_DYLIB_PATH="$(ARM)/onnxruntime/lib/libonnxruntime.so.1" cargo build --package fcn-trainer --bin trainer \
		--target $(ARM_TARGET) --target-dir $(TARGET)/aarch64

# dpkg-shlibdeps, which cargo-deb calls, finds the packages of this machine's libraries only. These are what the
# symbol versions of libfcn and ONNX Runtime stand for: GLIBC_2.34, GCC_4.5.0 and GLIBCXX_3.4.22.
ARM_DEPENDS := libc6 (>= 2.34), libgcc-s1 (>= 4.5), libstdc++6 (>= 6)
# Cargo.toml cannot say that the element needs this only if it has the property `metadata`.
ANALYTICS_DEPENDS := , libgstreamer-plugins-bad1.0-0 (>= 1.26)
# Changes a package's control file with sed.
edit_control = rm -rf target/deb && dpkg-deb --raw-extract $(1) target/deb \
	&& sed -i $(2) target/deb/DEBIAN/control && dpkg-deb --root-owner-group --build target/deb $(1)

# Checked before anything is built.
deb-tools:
	@[ -z "$(RUNTIME)" ] || { echo "make deb has no RUNTIME: the packages contain the ONNX Runtime without OpenVINO" >&2; exit 1; }
	@{ command -v cargo-deb && command -v dpkg-architecture; } > /dev/null || { echo "make deb needs cargo-deb (cargo install cargo-deb --locked) and" \
		"dpkg-dev (apt-get install dpkg-dev)" >&2; exit 1; }

# In a folder of its own, like the test's: with other features of its dependencies, libfcn's files have the
# same names. maturin checks which manylinux the wheel needs.
wheel: OUT = $(TARGET)/wheels
wheel:
	$(PYTHON) scripts/deps.py wheels
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-index --find-links .deps/wheels/files \
		--root-user-action=ignore --upgrade --target $(TARGET)/maturin maturin
	$(TARGET)/maturin/bin/maturin build --release --locked --manifest-path python/Cargo.toml \
		--target-dir $(TARGET)/python --out "$(OUT)"

weights:
	$(PYTHON) scripts/deps.py weights

header:
	FCN_UPDATE_HEADER=1 cargo test --test header

abi:
	FCN_UPDATE_ABI=1 cargo test --test abi

deps:
	$(PYTHON) scripts/deps.py onnxruntime photos libtorch weights

deps-runtime:
	$(PYTHON) scripts/deps.py $(RUNTIME_PART) photos

deps-openvino:
	$(PYTHON) scripts/deps.py onnxruntime-openvino

deps-torch:
	$(PYTHON) scripts/deps.py libtorch

clean:
	cargo clean
