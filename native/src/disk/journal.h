// The journal: which places a disk's blocks have, in the order in which they came to be (docs/formats/disk-folder.md).
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "../memory/descriptor.h"
#include "place.h"

namespace virtcft {

enum class Change : uint8_t {
  kBegin = 1,     // the base is all `place` (zero or absent) and of `epoch`
  kBase = 2,      // blocks of the base have this place
  kRestZero = 3,  // what is absent in the base is zero
  kWrite = 4,     // blocks of the open layer have this place
  kSeal = 5,      // the open layer is the layer `epoch`
  kFold = 6,      // the layers up to `epoch` are the base
  kRollback = 7,  // the open layer and the layers after `epoch` are dropped
};

struct JournalRecord {
  uint32_t crc = 0;  // of the rest, seeded with the record's number: one in another place does not verify
  Change change;
  Place place = kZeroPlace;
  uint16_t reserved = 0;
  uint32_t first = 0;
  uint32_t count = 0;
  uint64_t epoch = 0;
};
static_assert(sizeof(JournalRecord) == 24);

/** Guarded by the disk's lock. Written with write(), never synced: it outlives the process, not the machine, and says so to the next start. */
class Journal {
 public:
  explicit Journal(std::string directory) : directory_(std::move(directory)) {}

  static bool exists(const std::string& directory);
  /** Blocks of the disk, from the header. ENODISK, EBADDISK. */
  size_t open();
  /** Gives every record, cuts an unfinished last one off. EBADDISK when one does not verify. */
  void replay(const std::function<void(const JournalRecord&)>& each);

  /** A new journal that takes the old one's place when it is done. */
  class Draft {
   public:
    Draft(const std::string& directory, size_t blocks);
    ~Draft();
    Draft(const Draft&) = delete;
    Draft& operator=(const Draft&) = delete;
    void add(JournalRecord record);

   private:
    friend class Journal;
    void flush();
    std::string path_;
    Descriptor fd_;
    std::vector<JournalRecord> gathered_;
    size_t records_ = 0;
    bool done_ = false;
  };
  /** What was added and not written yet is in the draft too. */
  void replaceBy(Draft& draft);

  /** Room for so many records; 0, or errno. */
  int reserve(size_t records);
  void add(JournalRecord record);
  /** Writes what was added. EIO. */
  void write();
  bool unwritten() const { return !added_.empty(); }
  bool grown() const;

 private:
  size_t bytes() const;
  std::string directory_;
  Descriptor fd_;
  std::vector<JournalRecord> added_;
  size_t records_ = 0;         // in the file and added
  size_t rewrittenBytes_ = 0;  // length when it was made
  size_t reservedBytes_ = 0;
};

}  // namespace virtcft
