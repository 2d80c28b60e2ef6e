// A received packet made into its answer, in place: addresses and ports of every layer swapped, the rest left.
// Swapping keeps all checksums right.
#pragma once

#include <cstdint>

#include "tools/trafgen/frame_view.h"
#include "tools/trafgen/signature.h"

namespace sluice::trafgen {

void swap_macs(uint8_t* frame);
// Both Ethernet headers, both IP headers, the inner ports. An echo request becomes a reply, SYN becomes SYN and ACK.
void turn_around(const FrameView& view);
// Replaces the signature and corrects the L4 checksum for it.
void replace_signature(const FrameView& view, const Signature& from, const Signature& to);
// Replaces a 16-bit word at `at`, as it lies in the frame, and corrects the L4 checksum for it.
void replace_word(const FrameView& view, uint8_t* at, uint16_t wire);

// The answer to a TCP segment without payload that opens or closes a connection, made of it in place. The server
// keeps no state: its first sequence number follows from the client's.
inline constexpr uint32_t server_sequence_offset = 0x35a5a5a4;
enum class TcpAnswer : uint8_t { None, SynAck, FinAck };
TcpAnswer answer_tcp(const FrameView& view);

}  // namespace sluice::trafgen
