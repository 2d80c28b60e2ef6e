// The timeouts of conntrack.timeouts by their names in a document.
#pragma once

#include <array>
#include <string_view>

#include "config/model.h"

namespace sluice::config {

struct NamedTimeout {
  std::string_view name;
  Seconds ConntrackTimeouts::*field;
};

inline constexpr std::array named_timeouts{
    NamedTimeout{"tcpSynSent", &ConntrackTimeouts::tcp_syn_sent},
    NamedTimeout{"tcpSynSent2", &ConntrackTimeouts::tcp_syn_sent2},
    NamedTimeout{"tcpSynRecv", &ConntrackTimeouts::tcp_syn_recv},
    NamedTimeout{"tcpEstablished", &ConntrackTimeouts::tcp_established},
    NamedTimeout{"tcpFinWait", &ConntrackTimeouts::tcp_fin_wait},
    NamedTimeout{"tcpCloseWait", &ConntrackTimeouts::tcp_close_wait},
    NamedTimeout{"tcpLastAck", &ConntrackTimeouts::tcp_last_ack},
    NamedTimeout{"tcpTimeWait", &ConntrackTimeouts::tcp_time_wait},
    NamedTimeout{"tcpClose", &ConntrackTimeouts::tcp_close},
    NamedTimeout{"tcpUnreplied", &ConntrackTimeouts::tcp_unreplied},
    NamedTimeout{"tcpUnacknowledged", &ConntrackTimeouts::tcp_unacknowledged},
    NamedTimeout{"udp", &ConntrackTimeouts::udp},
    NamedTimeout{"udpStream", &ConntrackTimeouts::udp_stream},
    NamedTimeout{"icmp", &ConntrackTimeouts::icmp},
    NamedTimeout{"gre", &ConntrackTimeouts::gre},
    NamedTimeout{"greStream", &ConntrackTimeouts::gre_stream},
    NamedTimeout{"generic", &ConntrackTimeouts::generic},
};

// By the names of Linux's nf_conntrack_sctp_timeout_*, some of which are less than a second.
struct NamedSctpTimeout {
  std::string_view name;
  Milliseconds ConntrackTimeouts::*field;
};

inline constexpr std::array named_sctp_timeouts{
    NamedSctpTimeout{"sctpCookieWait", &ConntrackTimeouts::sctp_cookie_wait},
    NamedSctpTimeout{"sctpCookieEchoed", &ConntrackTimeouts::sctp_cookie_echoed},
    NamedSctpTimeout{"sctpEstablished", &ConntrackTimeouts::sctp_established},
    NamedSctpTimeout{"sctpShutdownSent", &ConntrackTimeouts::sctp_shutdown_sent},
    NamedSctpTimeout{"sctpShutdownRecd", &ConntrackTimeouts::sctp_shutdown_recd},
    NamedSctpTimeout{"sctpShutdownAckSent", &ConntrackTimeouts::sctp_shutdown_ack_sent},
    NamedSctpTimeout{"sctpClosed", &ConntrackTimeouts::sctp_closed},
    NamedSctpTimeout{"sctpUnreplied", &ConntrackTimeouts::sctp_unreplied},
};

}  // namespace sluice::config
