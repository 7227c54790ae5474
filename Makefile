# make            builds libfcn into target/release
# make demo       labels a photo of a cat and one of a pagoda; needs cargo, cc and python3 with pip
# make picture    writes docs/cat.jpg, the README's image, from the demo's output; needs Pillow
# make test       runs every check; needs nothing more than the demo, and lists what it skipped
# make fuzz       runs the fuzz targets in fuzz/ for SECONDS=60 in total; ONLY=frame selects one
# make asan       runs the C tests with AddressSanitizer in libfcn and in the programs
# make bench      compares libfcn with its peers and writes BENCHMARKS.md; 40 minutes on an idle machine.
#                 PEERS="libfcn ort" selects peers, RUNS=5 sets the rounds, QUICK=1 is a short run that
#                 writes to target/bench only; PyTorch is a 3 GB download
# make bench-train   compares training speed with PyTorch's and writes docs/training-speed.md. DATA=FOLDER
#                 adds rows for real photos, RUNS=5 sets the rounds; PyTorch is a 3 GB download
# make gpu-check  runs the checks that need a GPU and writes to target/gpu/out; needs CUDA 13, cuDNN 9 and
#                 python3 with numpy, onnx and pillow (and torch, to compare with); docs/gpu.md
# make install    libfcn, headers, fcn.pc, CMake's files, models and ONNX Runtime below PREFIX (/usr/local)
#                 and DESTDIR. LIBDIR=lib64 sets the library folder; WITHOUT_ORT=1 leaves ONNX Runtime out;
#                 FROM=target/release installs without building (for sudo)
# make deb        Debian packages in target/debian (OUT): libfcn0.1, with ONNX Runtime and models, and
#                 libfcn-dev; needs cargo-deb (cargo install cargo-deb --locked) and dpkg-dev;
#                 DEB_FLAGS=--fast compresses less
# make install-trainer   the trainer below PREFIX, with libtorch and ONNX Runtime; with LIBTORCH=FOLDER it
#                 uses that libtorch in place
# make wheel      builds a wheel of the Python package in target/wheels (OUT), and says which manylinux it
#                 needs; docs/python.md
# make weights    downloads ImageNet weights for training to .deps/weights
# make header     regenerates include/fcn.h from src/ffi
# make abi        regenerates tests/abi/libfcn.abi, the ABI that built programs depend on
# make deps       all native libraries, in .deps; deps-runtime: for the demo only; deps-torch: for the trainer
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
ORT_DEFAULT := $(CURDIR)/.deps/onnxruntime/lib/libonnxruntime.so.1

.PHONY: build demo picture test fuzz asan bench bench-train gpu-check install install-trainer deb deb-tools weights wheel header abi deps deps-runtime deps-torch clean

build:
	cargo build --release

demo: deps-runtime build
	mkdir -p $(TARGET)/demo
	ln -sf ../release/libfcn.so $(TARGET)/demo/libfcn.so.$(SOVERSION)
	$(CC) -O2 -Wall -Wextra -Iinclude examples/segment.c -o $(TARGET)/demo/segment \
		$(TARGET)/demo/libfcn.so.$(SOVERSION) -Wl,-rpath,'$$ORIGIN'
	ORT_DYLIB_PATH="$${ORT_DYLIB_PATH:-$(ORT_DEFAULT)}" \
		$(TARGET)/demo/segment models/animals.onnx .deps/photos/chelsea.png $(TARGET)/demo/cat.png
	ORT_DYLIB_PATH="$${ORT_DYLIB_PATH:-$(ORT_DEFAULT)}" \
		$(TARGET)/demo/segment models/street.onnx .deps/photos/china.jpg $(TARGET)/demo/pagoda.png

picture: demo
	$(PYTHON) -c "from PIL import Image; photo, drawn = (Image.open(name).convert('RGB') for name in \
	('.deps/photos/chelsea.png', '$(TARGET)/demo/cat.png')); both = Image.new('RGB', (2 * photo.width + 8, photo.height), 'white'); \
	both.paste(photo, (0, 0)); both.paste(drawn, (photo.width + 8, 0)); both.save('docs/cat.jpg', quality=90)"

test:
	$(PYTHON) scripts/deps.py onnxruntime photos libtorch weights python wheels
	bash scripts/test.sh

fuzz:
	$(PYTHON) scripts/deps.py onnxruntime libtorch
	bash scripts/fuzz.sh $(or $(SECONDS),60) $(ONLY)

asan:
	$(PYTHON) scripts/deps.py onnxruntime
	bash scripts/asan.sh

bench: deps-runtime build
	$(PYTHON) scripts/deps.py libtorch weights bench $(if $(filter pytorch,$(PEERS)),bench-torch)
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
install: FILL_IN = sed -e 's|@VERSION@|$(VERSION)|g' -e 's|@SOVERSION@|$(SOVERSION)|g' -e 's|@LIBDIR@|$(LIBDIR)|g' \
	-e 's|@UP@|$(shell echo $(LIBDIR) | sed 's|[^/][^/]*|..|g')|g'
install: $(if $(FROM),,build)
	$(if $(WITHOUT_ORT),,env -u ORT_DYLIB_PATH $(PYTHON) scripts/deps.py onnxruntime)
	install -d "$(INSTALL_LIB)/pkgconfig" "$(INSTALL_LIB)/cmake/fcn" "$(DESTDIR)$(PREFIX)/include" "$(INSTALL_DOC)" "$(INSTALL_MODELS)"
	install -m 755 $(LIB)/libfcn.so "$(INSTALL_LIB)/libfcn.so.$(VERSION)"
	ln -sf libfcn.so.$(VERSION) "$(INSTALL_LIB)/libfcn.so.$(SOVERSION)"
	ln -sf libfcn.so.$(SOVERSION) "$(INSTALL_LIB)/libfcn.so"
	install -m 644 include/fcn.h include/fcn.hpp "$(DESTDIR)$(PREFIX)/include"
	$(FILL_IN) scripts/fcn.pc.in > "$(INSTALL_LIB)/pkgconfig/fcn.pc"
	$(FILL_IN) scripts/fcn-config.cmake.in > "$(INSTALL_LIB)/cmake/fcn/fcn-config.cmake"
	$(FILL_IN) scripts/fcn-config-version.cmake.in > "$(INSTALL_LIB)/cmake/fcn/fcn-config-version.cmake"
	install -m 644 LICENSE-MIT LICENSE-APACHE "$(INSTALL_DOC)"
	install -m 644 models/animals.onnx models/street.onnx models/README.md LICENSE-APACHE "$(INSTALL_MODELS)"
ifndef WITHOUT_ORT
	install -d "$(INSTALL_LIB)/fcn-$(SOVERSION)" "$(INSTALL_DOC)/onnxruntime"
	cp -P .deps/onnxruntime/lib/libonnxruntime.so.1* "$(INSTALL_LIB)/fcn-$(SOVERSION)"
	install -m 644 .deps/onnxruntime/LICENSE .deps/onnxruntime/ThirdPartyNotices.txt "$(INSTALL_DOC)/onnxruntime"
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
deb: MULTIARCH = $(shell dpkg-architecture -q DEB_HOST_MULTIARCH)
deb: deb-tools $(if $(FROM),,build)
	rm -rf target/package
	$(MAKE) install FROM=$(LIB) DESTDIR=target/package PREFIX=/usr LIBDIR=lib/$(MULTIARCH)
	ln -s usr/lib/$(MULTIARCH) target/package/lib
	mkdir -p "$(OUT)"
	strip --strip-unneeded target/package/lib/libfcn.so.$(VERSION)
	cargo deb --no-build --multiarch same --output "$(OUT)/" $(DEB_FLAGS) --variant library
	cargo deb --no-build --multiarch same --output "$(OUT)/" $(DEB_FLAGS) --variant dev

# Checked before anything is built.
deb-tools:
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
	$(PYTHON) scripts/deps.py onnxruntime photos

deps-torch:
	$(PYTHON) scripts/deps.py libtorch

clean:
	cargo clean
