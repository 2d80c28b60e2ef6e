// Where pods find the sockets of their memifs: a folder that is the router's alone, in it one folder for each pod with
// one socket, FOLDER/NAME/memif.sock. Nobody but root and the router's user can enter FOLDER, so who can reach a pod's
// socket is who was given that pod's folder (a bind mount, a hostPath volume), and whoever has the folder may connect,
// whatever user it is.
//
// Nothing here follows a link that somebody put there or changes the rights of something by its name: names are looked
// up from open folders, one step each, and the socket is made with the rights it keeps. For that the calling thread
// needs a mask and a working directory of its own: become_socket_maker().
#pragma once

#include <string>

#include "control/descriptor.h"
#include "control/privileges.h"
#include "dataplane/net/result.h"

namespace sluice::control {

inline constexpr const char* memif_socket_name = "memif.sock";

// Makes the folder if it is missing and its parent is there. With an owner it is theirs from now on, and so are the
// folders of pods in it, unless others can enter it.
[[nodiscard]] net::Status<> make_pod_folder(const std::string& path, const Identity* owner);
// Error: it is not there, others can enter it, or it is another user's; says what to do.
[[nodiscard]] net::Result<Descriptor> open_pod_folder(const std::string& path);

// What the calling thread does with its working directory and its mask concerns no other from now on.
[[nodiscard]] net::Status<> become_socket_maker();

struct MemifListener {
  Descriptor folder;  // the pod's
  Descriptor socket;
};
// A socket for the pod `name`, in its folder, which is made if it is missing. Takes the place of a socket that nobody
// listens at. Only after become_socket_maker().
[[nodiscard]] net::Result<MemifListener> listen_for_pod(const Descriptor& pods, const std::string& name);
// Its file. The listener is still to be closed.
void remove_socket(const MemifListener& listener);
// If there is nothing in it.
void remove_pod_folder(const Descriptor& pods, const std::string& name);

}  // namespace sluice::control
