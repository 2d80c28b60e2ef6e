// Delayed binding and splicing: any order of what a client, two endpoints, the network between them and the clock can
// do, with the whole router in between. Truth is a model of two lines: an endpoint hears what the client said, and the
// client hears what the endpoints said, one after the other, or what the router says itself.
//
// The first bytes of the input choose the family, what both ends can do, and whether the answers are HTTP: then
// whatever the client hears behind what one of them said begins where an answer of that one ended. Each byte behind
// them is a step, some with bytes of their own. A step that puts a segment on the wire that neither end has sent ends
// the comparison, not the run.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "dataplane/net/headers.h"
#include "tests/packet/splice_network.h"

namespace sluice::packet_test {
namespace {

namespace tcp_flag = net::tcp_flag;

constexpr unsigned most_steps = 120;
constexpr unsigned inputs_of_a_rig = 128;
constexpr size_t most_said = 60'000;
constexpr nat::Millis longest_record = 200'000;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  [[nodiscard]] bool empty() const { return at_ == size_; }
  uint8_t byte() { return empty() ? uint8_t{0} : data_[at_++]; }
  unsigned below(unsigned limit) { return byte() % limit; }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

// What the client can say at once.
constexpr std::array<std::string_view, 16> words{"1 0\n",      "1w 0\n",  "2w 0\n", "1w 20\n", "2w 700\n", "1p 3\n",
                                                 "answer\n",   "reset\n", "3 0\n",  "4w 9\n",  "?\n",      "ok\n",
                                                 "1w 70000\n", "1",       "w 5\n",  "\n"};
constexpr std::array<std::string_view, 7> answers{"no such thing\n", "unavailable\n", "refused\n", "unanswered\n",
                                                  "too slow\n",      "too long\n",    "bad body\n"};

// The same where the answers are HTTP.
constexpr std::array<std::string_view, 16> http_words{
    "1wh 0\n", "2wh 0\n", "1wh 20\n",    "2wh 700\n", "1wu 0\n", "2wh 1\n",  "answer\n", "reset\n",
    "3wh 0\n", "4wh 9\n", "1wh 70000\n", "1whc 0\n",  "w",       "5\r\nx\n", "h 5\n",    "\n"};

// One of the endpoints' connections, which speaks with a letter of its own.
struct Speaker {
  char letter = 'A';
  std::string said;
  std::set<size_t> ends;  // of its answers, if they are HTTP
};

class Run {
 public:
  Run(Rig& rig, unsigned number, Input input)
      : input_(input), http_(Input(input).byte() >= 160), net_(rig, side(number), number, 0), rig_(rig) {
    PeerOptions options = peer();
    options.mss = net_.mss();
    net_.client = TcpPeer(net_.side().client, net_.side().front, 0xfffffff0 + number, options);
    net_.server_options = peer();
    net_.server_options.mss = static_cast<uint16_t>(input_.below(4) == 0 ? 100 : net_.mss());
    net_.on_server = [this](const std::string& name) {
      current_[name] = speakers_.size();
      speakers_.push_back({static_cast<char>('A' + speakers_.size() % 26), "", {0}});
    };
    net_.client.connect();
  }

  void run() {
    for (unsigned i = 0; i < most_steps && !input_.empty(); ++i) {
      step(input_.byte());
      compare();
    }
    // The router gives up whatever is not finished: nothing of this comes into the next run.
    net_.set_bad(0);
    TcpSegment reset = segment_of_client(tcp_flag::rst, 0, 0);
    reset.seq = net_.client.next();
    (void)rig_.send(net_.side().port, reset.bytes());
    (void)rig_.advance(longest_record);
  }
  [[nodiscard]] const std::string& fault() const { return fault_; }

 private:
  Network::Side side(unsigned number) {
    Network::Side out = Network::all()[input_.below(3)];
    out.client.erase(out.client.rfind(':') + 1);
    out.client += std::to_string(1024 + number);
    return out;
  }
  PeerOptions peer() {
    PeerOptions out;
    const uint8_t bits = input_.byte();
    if ((bits & 1) != 0) out.scale.reset();
    if ((bits & 2) != 0) out.scale = static_cast<uint8_t>(bits >> 4);
    out.sack = (bits & 4) == 0;
    out.timestamps = (bits & 8) == 0;
    return out;
  }
  [[nodiscard]] const std::string& endpoint() { return input_.below(2) == 0 ? net_.side().server : net_.side().second; }

  void step(uint8_t kind) {
    switch (kind % 16) {
      case 0:
      case 1:
        return net_.turn(false);
      case 2:
        return net_.turn(true);
      case 3:
      case 4:
      case 5:
        return say(std::string((http_ ? http_words : words)[input_.below(words.size())]));
      case 6:
        return say(pattern(input_.byte() * size_t{input_.byte()} / 8 + 1, 3));
      case 7:
      case 8:
        return answer(input_.byte() * size_t{input_.byte()} / 4 + 1);
      case 9:
        return input_.below(3) == 0 ? net_.client.finish() : finish(endpoint());
      case 10:
        return net_.client.cut(static_cast<uint16_t>(1 + input_.byte()));
      case 11:
        return net_.set_bad(input_.below(40));
      case 12:
        return refuse(endpoint());
      case 13:
        (void)rig_.advance(input_.byte() * 100);
        return;
      case 14:
        net_.deaf = !net_.deaf;
        return;
      default:
        return tamper();
    }
  }
  void say(const std::string& text) {
    if (net_.client.said().size() + text.size() > most_said) return;
    // What of these is not for the endpoint changes the numbers of what is.
    if (text.starts_with('?') || text.starts_with("ok")) compares_ = net_.compares = false;
    net_.client.say(text);
  }
  void answer(size_t size) {
    const std::string& name = endpoint();
    if (!net_.has_server(name)) return;
    Speaker& speaker = speakers_[current_[name]];
    if (speaker.said.size() + size > most_said) return;
    const std::string text = http_ ? http_answer(speaker.letter, size) : std::string(size, speaker.letter);
    speaker.said += text;
    if (http_) speaker.ends.insert(speaker.said.size());
    net_.server(name).say(text);
  }
  static std::string http_answer(char letter, size_t size) {
    // Some servers end the lines of their heads with LF alone, and get no other request.
    const std::string end = size % 3 == 1 ? "\n" : "\r\n";
    const std::string status = std::string("HTTP/1.1 200 ") + letter + end;
    const std::string body(size, letter);
    if (size % 25 == 5) return std::string("HTTP/1.1 101 ") + letter + end + end;
    if (size % 5 == 0) return std::string("HTTP/1.1 204 ") + letter + end + end;
    if (size % 5 == 1) return "HTTP/1.1 100 Go" + end + end + status + "Content-Length: 0" + end + end;
    if (size % 5 != 2) return status + "Content-Length: " + std::to_string(size) + end + end + body;
    return status + "Transfer-Encoding: chunked" + end + end + fmt::format("{:x}", size) + "\r\n" + body +
           "\r\n0\r\n\r\n";
  }
  void finish(const std::string& name) {
    if (net_.has_server(name)) net_.server(name).finish();
  }
  void refuse(const std::string& name) {
    if (net_.refuses.count(name) != 0) {
      net_.refuses.erase(name);
    } else {
      net_.refuses[name] = input_.below(2) == 0;
    }
  }

  TcpSegment segment_of_client(uint8_t flags, uint32_t seq, uint32_t ack) {
    TcpSegment out;
    out.src = net_.side().client;
    out.dst = net_.side().front;
    out.flags = flags;
    out.seq = net_.client.next() + seq;
    out.ack = net_.client.expects() + ack;
    out.window = 1000;
    return out;
  }
  uint32_t somewhere() {
    const auto near = static_cast<uint32_t>(static_cast<int8_t>(input_.byte()));
    return input_.below(4) == 0 ? near << 16 : near;
  }
  void tamper() {
    compares_ = net_.compares = false;
    const bool of_client = input_.below(2) == 0;
    TcpSegment segment = segment_of_client(input_.byte() & 0x3f, somewhere(), somewhere());
    const std::string& name = endpoint();
    if (!of_client) {
      if (!net_.has_server(name) || !net_.server(name).other_syn()) return;
      TcpPeer& server = net_.server(name);
      segment.src = net_.side().server == name ? net_.side().server : net_.side().second;
      segment.dst = server.other_syn()->src;
      segment.seq = server.next() + (segment.seq - net_.client.next());
      segment.ack = server.expects() + (segment.ack - net_.client.expects());
    }
    if (input_.below(2) == 0) segment.timestamp = {somewhere(), somewhere()};
    segment.window = static_cast<uint16_t>(input_.byte() << 8);
    segment.data = std::string(input_.byte() * size_t{input_.below(5)}, 'z');
    (void)rig_.send(of_client ? net_.side().port : "b", segment.bytes());
    net_.take();
  }

  void compare() {
    if (!compares_ || !fault_.empty()) return;
    fault_ = net_.client.fault();
    for (const auto& [name, server] : net_.servers) fault_ += server.fault();
    if (fault_.empty() && !is_heard())
      fault_ = "nobody said what the client heard: " + net_.client.heard().substr(0, 200);
  }
  // What the endpoints said in the order in which they were connected, then words of the router. Two of them may begin
  // alike.
  [[nodiscard]] bool is_heard() const {
    const std::string& heard = net_.client.heard();
    std::set<size_t> begins{0};  // where the next one may begin
    for (const Speaker& speaker : speakers_) {
      std::set<size_t> next;
      for (const size_t begin : begins) {
        const auto [end, unused] = std::mismatch(heard.begin() + static_cast<ptrdiff_t>(begin), heard.end(),
                                                 speaker.said.begin(), speaker.said.end());
        const auto same = static_cast<size_t>(end - heard.begin()) - begin;
        if (begin + same == heard.size()) return true;
        for (size_t size = http_ ? 0 : same; size <= same; ++size) {
          if (!http_ || speaker.ends.count(size) != 0) next.insert(begin + size);
        }
      }
      begins = std::move(next);
    }
    return std::any_of(begins.begin(), begins.end(), [&](size_t begin) {
      const std::string_view rest = std::string_view(heard).substr(begin);
      return std::any_of(answers.begin(), answers.end(),
                         [&](std::string_view words) { return words.starts_with(rest); });
    });
  }

  Input input_;
  bool http_;
  Network net_;
  Rig& rig_;
  std::map<std::string, size_t> current_;
  std::vector<Speaker> speakers_;
  bool compares_ = true;
  std::string fault_;
};

void run(Input input) {
  static std::unique_ptr<Rig> rig;
  static unsigned number = 0;
  if (number++ % inputs_of_a_rig == 0) {
    rig.reset();
    rig = std::make_unique<Rig>();
    load_splices(*rig);
  }
  Run one(*rig, number % inputs_of_a_rig, input);
  one.run();
  if (!one.fault().empty()) {
    std::fprintf(stderr, "%s\n", one.fault().c_str());
    __builtin_trap();
  }
  // Of the network and of the rig.
  if (testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed()) __builtin_trap();
}

}  // namespace
}  // namespace sluice::packet_test

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  (void)argc, (void)argv;
  sluice::packet_test::start_environment();
  return 0;
}

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sluice::packet_test::run({data, size});
  return 0;
}
