#include "tcl_interp.h"

#include "posix_pid.h"

#include <algorithm>

namespace uds {

namespace {

const char kKey[] = "unix_sockets";

thread_local std::vector<InterpData *> ofThread;
thread_local pid_t ofProcess = 0;

void deleteData(void *data, Tcl_Interp *) {
    auto *doomed = static_cast<InterpData *>(data);
    ofThread.erase(std::remove(ofThread.begin(), ofThread.end(), doomed), ofThread.end());
    delete doomed; // made in dataOf
}

} // namespace

InterpData &dataOf(Tcl_Interp *interp) {
    if (ofProcess != ownPid())
        forgetParentsCallbacks();
    void *known = Tcl_GetAssocData(interp, kKey, nullptr);
    if (known)
        return *static_cast<InterpData *>(known);
    auto *data = new InterpData(interp); // deleted by deleteData
    Tcl_SetAssocData(interp, kKey, deleteData, data);
    ofThread.push_back(data);
    return *data;
}

const std::vector<InterpData *> &interpsOfThread() {
    return ofThread;
}

void forgetParentsCallbacks() {
    ofProcess = ownPid();
    for (InterpData *data : ofThread) {
        data->signals.forgetAll();
        data->children.forgetAll();
        if (data->serving)
            data->serving->abandon();
    }
}

} // namespace uds
