// One disk of a VM as its agent holds it: the image in its files, and the server.
#pragma once
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "../memory/fill.h"
#include "../memory/guest_memory.h"
#include "disk_image.h"
#include "server.h"

namespace virtcft {

struct DiskCaptured {
  size_t blocks;
  size_t busy;
  int64_t capture_us;
};

/**
 * Three callers may run at the same time: one for what the hypervisor waits for (serve, capture, rollback), one for the image (encode, fold, digest), one
 * for a fill (supply). Meaning of each call: native/index.d.ts.
 */
class GuestDisk {
 public:
  GuestDisk(const std::string& directory, size_t bytes, const std::string& image) : image_(DiskImage::create(directory, bytes, image)) {}
  explicit GuestDisk(std::unique_ptr<DiskImage> image) : image_(std::move(image)) {}
  static std::unique_ptr<GuestDisk> reopen(const std::string& directory) { return std::make_unique<GuestDisk>(DiskImage::reopen(directory)); }

  size_t bytes() const { return image_->bytes(); }
  void serve(const std::string& socket);
  DiskCaptured capture(uint64_t epoch);
  size_t rollback(uint64_t epoch);

  Encoded encode(std::optional<uint64_t> parent, uint64_t epoch);
  size_t fold(uint64_t epoch);
  std::string digest(uint64_t epoch);
  /** Off the pause: makes the next capture quick. */
  void warm() { image_->warm(); }

  void beginFill(uint64_t epoch);
  size_t supply(std::span<const uint8_t> section);
  size_t supplyRestAsZero();
  void onWanted(Server::Wanted wanted);
  FillStats fillStats() const;

  struct Stats {
    DiskImage::Held held;
    size_t connections, reads, writes, flushes, read_bytes, written_bytes;
  };
  Stats stats() const;

 private:
  /** All connections are cut while it lives. */
  class Quiet;
  /** A journal that cannot be rewritten only grows: nothing fails for it. */
  void tidy();
  void filled(size_t blocks);

  std::unique_ptr<DiskImage> image_;
  Server::Counts counts_;
  std::atomic<size_t> filledBlocks_{0};
  mutable std::mutex serverMutex_;  // the pointer
  std::mutex wantedMutex_;
  Server::Wanted wanted_;
  std::unique_ptr<Server> server_;
};

}  // namespace virtcft
