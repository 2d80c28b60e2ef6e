// The objects that are configured: each as the JSON it came as, and all together as a Config.
//
// The JSON is kept as canonical text (no blanks, without what clients and servers note about an object for
// themselves), one string per object: a fifth of the memory of parsed values, and exactly what GET, the copy on
// disk and a comparison need. The Config is changed in place, object by object, so a delta costs what the delta
// holds and not what the cluster holds.
//
// A change is all or nothing. apply() converts everything first and installs only if nothing was wrong; a caller
// that finds the result wanting afterwards (validate.h, compile) gives the Change back to revert().
//
//   auto delta = parse_delta(text);          // 400 or 422
//   auto change = objects.apply(*delta);     // 422
//   auto faults = validate(objects, *change);
//   if (!faults.empty()) objects.revert(std::move(*change));
//
// Of Secrets only what can be a password of a BGP session is kept (secret.h), and that is in no answer; an answer that
// is sent back leaves it as it is.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <boost/json/value.hpp>

#include "config/convert.h"
#include "config/digest.h"
#include "config/ipam_blocks.h"
#include "config/json.h"
#include "config/model.h"
#include "config/owners.h"

namespace sluice::config {

// What a change did, for whoever compiles only what changed, and how to undo it.
struct Change {
  enum class Action : uint8_t { Added, Replaced, Removed };
  struct Touched {
    ObjectKey key;
    Action action = Action::Added;
    bool effective = true;  // false: only the JSON differs, the Config does not (a new resourceVersion)
    std::string before;     // canonical text; empty if added
    // false: a Service with its addresses and no direct return, a slice with its service, a Node with its network
    bool moved = true;
    std::string service = {};  // of an EndpointSlice: the one it belonged to before
    std::string node = {};     // of a WorkloadEndpoint: the one it was at before
  };

  std::vector<Touched> touched;   // each key once, in order; objects set to the very same text are not here
  std::vector<Warning> warnings;  // about this change; those about objects are in ObjectSet::warnings()
  std::set<std::string> blocks;   // entries of Config::blocks that IPAMBlocks made other ones

  [[nodiscard]] bool empty() const { return touched.empty(); }
  // Whether the Config differs: at all, in objects of a kind, in one object.
  [[nodiscard]] bool effective() const;
  [[nodiscard]] bool touches(std::string_view kind) const;
  [[nodiscard]] bool touches(const ObjectKey& key) const;
};

// Adds what `further`, which came next, did: for whoever looks at both at once. It cannot be reverted.
void append(Change& change, const Change& further);
// Adds that these services have other load balancer addresses (ObjectSet::give). It cannot be reverted.
void mark_services(Change& change, const std::vector<ObjectName>& names);

class ObjectSet;

// What holds between objects (validate.h). Places in the document.
using Rules = std::vector<Fault> (*)(const ObjectSet&, const Change&);

class ObjectSet {
 public:
  ObjectSet() = default;
  ObjectSet(ObjectSet&&) = default;
  ObjectSet& operator=(ObjectSet&&) = default;
  ObjectSet(const ObjectSet&) = delete;  // a whole cluster: never by accident
  ObjectSet& operator=(const ObjectSet&) = delete;
  ~ObjectSet() = default;

  // A full configuration: exactly one GatewayConfiguration. Reports every fault of the document: those within its
  // objects and, if `rules` are given, those between the objects that can be read.
  [[nodiscard]] static Result<ObjectSet, ParseFailure> from_document(Document&& document, Rules rules = nullptr);

  // Reports faults as from_document() does. On failure nothing has changed. Deleting what is not there is a warning.
  [[nodiscard]] Result<Change, ParseFailure> apply(Delta&& delta, Rules rules = nullptr);

  // A full configuration, to take the place of this one. Objects whose text is the same, byte for byte, as what they
  // came as last are not looked into, so that a document that is sent again costs little more than reading it. Changes
  // nothing; meanwhile other threads may read. Fails for text that is no document at all.
  class Replacement;
  [[nodiscard]] Result<Replacement, ParseFailure> prepare(std::string_view text, const Options& options = {}) const;
  // Reports faults as from_document() does. The set is as it was when the replacement was prepared.
  [[nodiscard]] Result<Change, ParseFailure> apply(Replacement&& replacement, Rules rules = nullptr);

  // Undoes the last change that was applied and not yet reverted.
  void revert(Change&& change);

  // Load balancer addresses that were given out here: they take the place of what the service's status says, now and
  // whenever the service comes again. No value: the status counts. The service need not be there.
  void give(const ObjectName& name, std::optional<std::vector<IpAddr>> addresses);

  [[nodiscard]] const Config& config() const { return config_; }
  // Of objects of config().
  [[nodiscard]] const Owners& owners() const { return owners_; }
  [[nodiscard]] size_t size() const { return objects_.size(); }
  [[nodiscard]] bool contains(const ObjectKey& key) const { return objects_.contains(key); }

  // Of the document and of the objects, and one for each kind that is kept without use.
  [[nodiscard]] std::vector<Warning> warnings() const;

  // A v1 List, sorted by kind, namespace and name. Empty strings match everything.
  struct Filter {
    std::string_view kind;
    std::string_view ns;
    std::string_view name;
  };
  [[nodiscard]] std::string to_text(const Filter& filter, std::optional<uint64_t> generation = {}) const;
  [[nodiscard]] boost::json::value to_json(const Filter& filter, std::optional<uint64_t> generation = {}) const;
  // Visits the objects behind `after` in the order of keys until visit(key, text) says false.
  template <class Visit>
  void each_after(const ObjectKey& after, const Visit& visit) const {
    for (auto at = objects_.upper_bound(after); at != objects_.end() && visit(at->first, at->second.text); ++at) {
    }
  }
  // Canonical text of one object; nullptr if there is none.
  [[nodiscard]] const std::string* text_of(const ObjectKey& key) const;

  // Turns places inside objects into places in the last document or delta (pointer), and the full form of a
  // field into the short one where the object uses that (clusterIP, a next hop in its route).
  void locate(std::vector<Fault>& faults) const;

  // What differs between two sets, as the change that leads from one to the other.
  [[nodiscard]] static Change difference(const ObjectSet& before, const ObjectSet& after);

 private:
  struct Stored {
    std::string text;
    Digest digest;  // of what it came as; none if it came in a delta
    const Kind* kind = nullptr;
    std::string location;   // in the document that brought it
    uint64_t document = 0;  // which one that was
    std::vector<Warning> warnings;
  };
  struct Converted {
    ObjectKey key;
    Stored stored;
    Typed typed;
    bool faulty = false;   // `typed` is what could be read
    bool surplus = false;  // a second GatewayConfiguration
  };

  using Upsert = std::vector<std::unique_ptr<Converted>>;  // each as large as the largest kind

  [[nodiscard]] Upsert convert_all(std::vector<RawObject>&& objects, Findings& findings) const;
  // `stored`: its canonical text as it is, from which what was hidden of it comes back; nullptr: there is none.
  [[nodiscard]] static Converted convert_one(RawObject&& raw, const std::string* stored, Findings& findings);
  [[nodiscard]] Result<Change, ParseFailure> apply(Upsert&& upsert, std::vector<Deletion>&& remove, Findings&& findings,
                                                   Rules rules);
  void check_gateways(Upsert& upsert, const std::vector<Deletion>& remove, Findings& findings) const;
  [[nodiscard]] Change commit(Upsert&& upsert, const std::vector<Deletion>& remove, Findings& findings);
  [[nodiscard]] Typed typed_of(const ObjectKey& key, KindUse use) const;
  // Notes whose an object is, before it changes.
  void note_owner(Change::Touched& touched, KindUse use) const;
  void install(Converted&& converted);
  // What put() does, and erasing, of objects that owners_ knows.
  template <class Map, class Value>
  void put_owned(Map& map, const typename Map::key_type& key, Value&& value);
  template <class Map>
  void erase_owned(Map& map, const typename Map::key_type& key);
  void erase(const ObjectKey& key);
  void refresh_gateway();
  [[nodiscard]] std::array<std::string, 2> felix_names() const;
  [[nodiscard]] Felix felix() const;
  void blame_felix(Fault& fault) const;
  void apply_given(Service& service) const;

  std::map<ObjectKey, Stored> objects_;
  std::unordered_map<Digest, const ObjectKey*, Digest::Hash> by_digest_;
  Config config_;
  Owners owners_;    // of objects of config_
  Gateway gateway_;  // as its object says; config_ has the ServiceCIDRs and FelixConfigurations added
  std::map<std::string, Felix> felix_;
  std::map<ObjectName, std::vector<IpAddr>> given_;
  std::map<std::string, std::vector<Prefix>> service_cidrs_;  // by ServiceCIDR
  IpamBlocks ipam_blocks_;
  std::vector<Warning> document_warnings_;
  uint64_t document_ = 0;  // number of the last document or delta, refused ones included
};

class ObjectSet::Replacement {
 private:
  friend class ObjectSet;
  struct Known {
    const ObjectKey* key;
    std::string location;
  };
  std::vector<Known> known_;  // objects that stay as they are
  Upsert upsert_;
  std::vector<Deletion> remove_;
  Findings findings_;
};

}  // namespace sluice::config
