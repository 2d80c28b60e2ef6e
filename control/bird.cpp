#include "control/bird.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <set>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include "control/bird_config.h"
#include "control/bird_reply.h"
#include "control/state_file.h"

namespace sluice::control {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using Socket = asio::local::stream_protocol::socket;

constexpr auto gather_time = std::chrono::milliseconds(20);
constexpr auto look_interval = std::chrono::seconds(1);
constexpr auto answer_time = std::chrono::seconds(5);
constexpr auto configure_time = std::chrono::seconds(60);
constexpr auto retry_time = std::chrono::seconds(5);
constexpr auto settle_poll = std::chrono::milliseconds(20);
constexpr auto on_the_wire = std::chrono::milliseconds(50);
constexpr size_t longest_answer = size_t{16} << 20;  // bytes
constexpr int file_mode = 0640;                      // passwords are in it

asio::redirect_error_t<asio::use_awaitable_t<>> into(error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

// Readable for the group of the folder: BIRD's, as Debian installs it.
net::Status<> write_file(const std::string& path, const std::string& text) {
  ::unlink(path.c_str());
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return failure("cannot write", path);
  struct stat folder = {};
  if (::stat(path.substr(0, path.rfind('/') + 1).c_str(), &folder) == 0) {
    [[maybe_unused]] const int may_fail = ::fchown(fd, static_cast<uid_t>(-1), folder.st_gid);
  }
  const bool written = write_all(fd, text) && ::fchmod(fd, file_mode) == 0;
  const net::Error error = failure("cannot write", path);
  ::close(fd);
  if (!written) return error;
  return net::Done{};
}

net::Status<> rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return failure("cannot replace", to);
  return net::Done{};
}

std::string_view type_of(BgpSession::Kind kind) {
  switch (kind) {
    case BgpSession::Kind::Mesh:
      return "node-to-node mesh";
    case BgpSession::Kind::NodePeer:
      return "node specific";
    case BgpSession::Kind::GlobalPeer:
      return "global";
  }
  return "";
}

}  // namespace

struct Bird::State : std::enable_shared_from_this<State> {
  State(asio::io_context& context, BirdPaths places, std::function<void(RouterEvent)> tell)
      : io(context),
        paths(std::move(places)),
        report(std::move(tell)),
        socket(context),
        wake(context),
        deadline(context) {}

  static awaitable<void> run(std::shared_ptr<State> self);
  void want(std::string wanted_text);
  // Nothing is announced any more; sessions stay.
  void silence();
  void hang_up();
  // Why it is not connected; empty: it is.
  [[nodiscard]] awaitable<std::string> connect();
  [[nodiscard]] awaitable<void> rest(Clock::duration time);
  // Empty: BIRD is gone.
  [[nodiscard]] awaitable<std::optional<BirdReply>> read_reply();
  [[nodiscard]] awaitable<std::optional<BirdReply>> ask(std::string command, Clock::duration patience = answer_time);
  // "check " or nothing, and the file. Nothing: BIRD is gone, and the problem says so.
  [[nodiscard]] awaitable<std::optional<BirdReply>> configure(const char* check, const std::string& file);
  [[nodiscard]] awaitable<void> deliver();
  [[nodiscard]] awaitable<void> look();
  // Without BIRD's opinion. Why it cannot be written; empty: it is.
  std::string place_file();
  // Nothing is wanted of BIRD any more, and it has been told so, or its file.
  [[nodiscard]] bool finished() const { return !enabled && (delivered == wanted || (!connected && placed == wanted)); }
  void set_problem(const std::string& reason, std::string message);
  void notice(const std::vector<BgpSessionStatus>& now);
  void tell(std::string reason, std::string object, std::string message, bool warning);
  [[nodiscard]] std::vector<BgpSessionStatus> sessions_of(const std::vector<BirdProtocol>& protocols) const;

  asio::io_context& io;
  const BirdPaths paths;
  std::function<void(RouterEvent)> report;
  Socket socket;
  asio::steady_timer wake;
  asio::steady_timer deadline;
  std::string input;

  bool enabled = false;
  bool running = false;  // run() is
  bool stopped = false;
  bool withdrawn = false;  // for good
  bool gathering = false;  // run() waits for more changes, and a change is nothing to wake it up for
  BgpPlan plan;
  std::string text;                           // that BIRD shall have
  uint64_t wanted = 0;                        // counts texts
  uint64_t placed = 0;                        // the one that is the file
  std::optional<Clock::time_point> retry_at;  // of what was refused: who knows why
  uint64_t delivered = 0;                     // the one that BIRD has, or has refused
  bool connected = false;
  std::string version;
  std::string problem;
  std::vector<BgpSessionStatus> sessions;
  uint64_t looked = 0;  // counts answers about sessions
};

void Bird::State::hang_up() {
  error_code ignored;
  socket.close(ignored);
  input.clear();
  connected = false;
  version.clear();
  for (BgpSessionStatus& session : sessions) {
    session.state = "unknown";
    session.bgp_state.clear();
    session.info.clear();
    session.up = false;
  }
}

awaitable<void> Bird::State::rest(Clock::duration time) {
  error_code ignored;
  wake.expires_after(time);
  co_await wake.async_wait(into(ignored));
}

void Bird::State::want(std::string wanted_text) {
  text = std::move(wanted_text);
  ++wanted;
  if (running) {
    if (!gathering) wake.cancel();
    return;
  }
  running = true;
  asio::co_spawn(io, run(shared_from_this()), asio::detached);
}

void Bird::State::silence() {
  plan.silent = true;
  plan.origins.clear();
  plan.advertised.clear();
  plan.pools.clear();
  plan.warnings.clear();
  want(bird_config(plan));
}

awaitable<std::optional<BirdReply>> Bird::State::read_reply() {
  BirdReply reply;
  while (true) {
    error_code error;
    const size_t length =
        co_await asio::async_read_until(socket, asio::dynamic_buffer(input, longest_answer), '\n', into(error));
    if (error || reply.text.size() > longest_answer) co_return std::nullopt;
    std::string_view line(input.data(), length - 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    const bool last = take_line(reply, line);
    input.erase(0, length);
    if (last) co_return reply;
  }
}

awaitable<std::optional<BirdReply>> Bird::State::ask(std::string command, Clock::duration patience) {
  deadline.expires_after(patience);
  deadline.async_wait([weak = weak_from_this()](const error_code& error) {
    const auto self = weak.lock();
    error_code ignored;
    if (!error && self) self->socket.close(ignored);
  });
  std::optional<BirdReply> reply;
  error_code error;
  if (!command.empty()) {
    command += '\n';
    co_await asio::async_write(socket, asio::buffer(command), into(error));
  }
  if (!error) reply = co_await read_reply();
  deadline.cancel();
  if (!reply) hang_up();
  co_return reply;
}

awaitable<std::optional<BirdReply>> Bird::State::configure(const char* check, const std::string& file) {
  const auto began = Clock::now();
  auto reply = co_await ask(fmt::format("configure {}\"{}\"", check, file), configure_time);
  if (!reply) {
    const bool late = Clock::now() - began >= configure_time;
    set_problem("BirdLost", late ? fmt::format("BIRD has not read its configuration within {} s; it is told again",
                                               configure_time.count())
                                 : std::string("BIRD has hung up while it read its configuration; it is told again"));
  }
  co_return reply;
}

awaitable<std::string> Bird::State::connect() {
  if (connected) co_return std::string();
  hang_up();
  error_code error;
  socket.open(asio::local::stream_protocol(), error);
  // A socket of this machine: it is there or it is not.
  if (!error) socket.non_blocking(true, error);
  if (!error) socket.connect(asio::local::stream_protocol::endpoint(paths.control_socket), error);
  if (error) co_return fmt::format("BIRD does not answer at {}: {}", paths.control_socket, error.message());
  const auto greeting = co_await ask("");
  if (!greeting || greeting->refused()) {
    hang_up();
    co_return fmt::format("BIRD does not greet at {}", paths.control_socket);
  }
  connected = true;
  version = greeting->last_words();
  if (const size_t ready = version.find(" ready"); ready != std::string::npos) version.resize(ready);
  delivered = 0;  // who knows what this one has read
  co_return std::string();
}

void Bird::State::set_problem(const std::string& reason, std::string message) {
  retry_at = Clock::now() + retry_time;
  if (problem == message) return;
  problem = std::move(message);
  if (!problem.empty()) tell(reason, paths.control_socket, problem, true);
}

void Bird::State::tell(std::string reason, std::string object, std::string message, bool warning) {
  RouterEvent event;
  event.type = EventType::Bgp;
  event.warning = warning;
  event.reason = std::move(reason);
  event.object = std::move(object);
  event.message = std::move(message);
  report(std::move(event));
}

std::string Bird::State::place_file() {
  if (placed == wanted) return {};
  const std::string fresh = paths.config_file + ".new";
  auto done = write_file(fresh, text);
  if (done) done = rename_file(fresh, paths.config_file);
  if (!done) return done.error().message;
  placed = wanted;
  return {};
}

awaitable<void> Bird::State::deliver() {
  retry_at.reset();
  const uint64_t number = wanted;
  const std::string fresh = paths.config_file + ".new";
  if (placed != number) {
    if (auto done = write_file(fresh, text); !done) {
      delivered = number;
      set_problem("BgpConfigFailed", done.error().message);
      co_return;
    }
    const auto checked = co_await configure("check ", fresh);
    if (!checked) co_return;
    if (checked->refused()) {
      delivered = number;
      set_problem("BgpConfigRefused", fmt::format("BIRD refuses its configuration: {}", checked->last_words()));
      co_return;
    }
    if (number != wanted) co_return;  // there is a newer one
    if (auto done = rename_file(fresh, paths.config_file); !done) {
      delivered = number;
      set_problem("BgpConfigFailed", done.error().message);
      co_return;
    }
    placed = number;
  }
  const auto configured = co_await configure("", paths.config_file);
  if (!configured) co_return;
  delivered = number;
  if (configured->refused()) {
    set_problem("BgpConfigRefused", fmt::format("BIRD refuses its configuration: {}", configured->last_words()));
  } else {
    problem.clear();
  }
}

std::vector<BgpSessionStatus> Bird::State::sessions_of(const std::vector<BirdProtocol>& protocols) const {
  std::map<std::string_view, const BirdProtocol*> by_name;
  for (const BirdProtocol& protocol : protocols) by_name[protocol.name] = &protocol;
  std::vector<BgpSessionStatus> out;
  for (const BgpSession& session : plan.sessions) {
    BgpSessionStatus status;
    status.name = session.name;
    status.object = session.object;
    status.type = type_of(session.kind);
    status.peer = session.peer;
    status.peer_port = session.peer_port;
    status.peer_as = session.peer_as;
    status.local_as = session.local_as;
    status.state = "unknown";
    if (const auto found = by_name.find(session.name); found != by_name.end()) {
      const BirdProtocol& protocol = *found->second;
      status.state = protocol.state;
      status.bgp_state = protocol.bgp_state;
      status.up = protocol.state == "up" && protocol.bgp_state == "Established";
      status.since_seconds = protocol.since_seconds;
      status.info = protocol.info;
      if (!status.up && !protocol.last_error.empty() && status.info.find(protocol.last_error) == std::string::npos)
        status.info += (status.info.empty() ? "" : " ") + protocol.last_error;
      status.imported = protocol.imported;
      status.exported = protocol.exported;
      status.limit_reached = protocol.limit_reached;
    }
    out.push_back(std::move(status));
  }
  return out;
}

void Bird::State::notice(const std::vector<BgpSessionStatus>& now) {
  for (const BgpSessionStatus& session : now) {
    const auto same = std::find_if(sessions.begin(), sessions.end(),
                                   [&](const BgpSessionStatus& other) { return other.name == session.name; });
    const bool was_up = same != sessions.end() && same->up;
    const bool was_limited = same != sessions.end() && same->limit_reached;
    const std::string who = fmt::format("{} ({})", net::to_string(session.peer), session.object);
    if (session.up && !was_up) tell("BgpSessionUp", session.name, fmt::format("the session with {} is up", who), false);
    if (!session.up && was_up) {
      tell("BgpSessionDown", session.name,
           fmt::format("the session with {} is down{}{}", who, session.info.empty() ? "" : ": ", session.info), true);
    }
    if (session.limit_reached && !was_limited) {
      tell("BgpPrefixLimit", session.name,
           fmt::format("{} sends more than {} prefixes; the others are not taken", who, plan.max_prefixes), true);
    }
  }
}

awaitable<void> Bird::State::look() {
  const auto answer = co_await ask("show protocols all");
  if (!answer || answer->refused()) co_return;
  std::vector<BgpSessionStatus> now = sessions_of(parse_protocols(answer->text));
  if (plan.has_bfd()) {
    const auto bfd = co_await ask("show bfd sessions");
    if (!bfd) co_return;
    const auto states = parse_bfd_sessions(bfd->text);
    for (BgpSessionStatus& session : now) {
      if (const auto state = states.find(net::to_string(session.peer)); state != states.end())
        session.bfd = state->second;
    }
  }
  notice(now);
  sessions = std::move(now);
  ++looked;
}

awaitable<void> Bird::State::run(std::shared_ptr<State> self) {
  State& state = *self;
  while (!state.stopped && !state.finished()) {
    if (state.retry_at && Clock::now() >= *state.retry_at) state.delivered = 0;
    if (state.delivered != state.wanted && state.connected) {
      state.gathering = true;
      co_await state.rest(gather_time);
      state.gathering = false;
    }
    const std::string lost = co_await state.connect();
    if (!lost.empty()) {
      const std::string failed = state.place_file();
      state.set_problem(failed.empty() ? "BirdLost" : "BgpConfigFailed", failed.empty() ? lost : lost + "; " + failed);
    } else if (state.delivered != state.wanted) {
      co_await state.deliver();
      if (state.connected) co_await state.look();
    } else {
      co_await state.look();
    }
    if (state.stopped) break;
    const bool news = state.connected && state.delivered != state.wanted;
    if (!news) co_await state.rest(look_interval);
  }
  state.hang_up();
  state.running = false;
}

Bird::Bird(asio::io_context& io, BirdPaths paths, std::function<void(RouterEvent)> report)
    : state_(std::make_shared<State>(io, std::move(paths), std::move(report))) {}

Bird::~Bird() {
  state_->stopped = true;
  state_->report = [](RouterEvent) {};
  state_->wake.cancel();
  state_->deadline.cancel();
  state_->hang_up();
}

void Bird::set(BgpPlan plan) {
  State& state = *state_;
  if (state.withdrawn) return;
  std::string text = bird_config(plan);
  state.plan = std::move(plan);
  const bool same = state.enabled && text == state.text;
  state.enabled = true;
  if (!same) state.want(std::move(text));
}

void Bird::clear() {
  State& state = *state_;
  if (!state.enabled || state.withdrawn) return;
  state.enabled = false;
  state.silence();
}

awaitable<void> Bird::withdraw(std::chrono::milliseconds patience) {
  const std::shared_ptr<State> state = state_;
  state->withdrawn = true;
  if (!state->enabled) co_return;
  const auto end = Clock::now() + patience;
  state->silence();
  if (!state->connected) {
    state->place_file();
    co_return;
  }
  const uint64_t number = state->wanted;
  asio::steady_timer timer(state->io);
  const auto told = [&] {
    return state->delivered == number && std::none_of(state->sessions.begin(), state->sessions.end(),
                                                      [](const auto& one) { return one.up && one.exported != 0; });
  };
  while (!told() && state->connected && Clock::now() < end) {
    timer.expires_after(settle_poll);
    co_await timer.async_wait(asio::use_awaitable);
    state->wake.cancel();
  }
  state->place_file();  // if BIRD has not taken it: for one that starts later
  timer.expires_after(on_the_wire);
  co_await timer.async_wait(asio::use_awaitable);
}

bool Bird::idle() const { return !state_->enabled; }

std::vector<std::string> Bird::problems() const {
  std::vector<std::string> out;
  if (!state_->enabled) return out;
  if (!state_->problem.empty()) out.push_back(state_->problem);
  out.insert(out.end(), state_->plan.warnings.begin(), state_->plan.warnings.end());
  return out;
}

namespace {

// Of MetalLB's BGPAdvertisements: communities may differ by session, and all of them are shown.
void show_advertised(const BgpPlan& plan, std::vector<BgpAnnouncement>& out) {
  for (const auto& [prefix, advertised] : plan.advertised) {
    BgpAnnouncement announcement;
    announcement.prefix = prefix;
    std::set<config::BgpCommunity> communities;
    for (const auto& [session, attributes] : plan.audiences.at(advertised.audience)) {
      communities.insert(attributes.communities.begin(), attributes.communities.end());
    }
    for (const config::BgpCommunity& community : communities) {
      announcement.communities.push_back(config::to_string(community));
    }
    announcement.reasons.assign(advertised.reasons.begin(), advertised.reasons.end());
    out.push_back(std::move(announcement));
  }
}

}  // namespace

BgpStatus Bird::status() const {
  const State& state = *state_;
  BgpStatus out;
  out.enabled = state.enabled;
  if (!state.enabled) return out;
  out.connected = state.connected;
  out.version = state.version;
  out.problem = state.problem;
  out.router_id = state.plan.router_id;
  out.as_number = state.plan.as_number;
  out.sessions = state.sessions.size() == state.plan.sessions.size() ? state.sessions : state.sessions_of({});
  for (const auto& [prefix, origin] : state.plan.origins) {
    BgpAnnouncement announcement;
    announcement.prefix = prefix;
    for (const config::BgpCommunity& community : origin.communities) {
      announcement.communities.push_back(config::to_string(community));
    }
    announcement.reasons.assign(origin.reasons.begin(), origin.reasons.end());
    out.announced.push_back(std::move(announcement));
  }
  show_advertised(state.plan, out.announced);
  out.warnings = state.plan.warnings;
  return out;
}

}  // namespace sluice::control
