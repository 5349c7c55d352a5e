// A worker at a pool's queue: takes connections as it has room for them, makes
// channels, and calls the handler for each. What it has to tell, its script hears.
#ifndef UDS_TCL_SERVING_H
#define UDS_TCL_SERVING_H

#include "posix_queue.h"
#include "posix_scoreboard.h"
#include "tcl_support.h"

#include <tcl.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace uds {

class Serving : public std::enable_shared_from_this<Serving> {
public:
    struct Settings {
        std::shared_ptr<Scoreboard> board;
        int slot;           // its own on the scoreboard
        int queue;          // borrowed from a channel that stays open
        size_t concurrency; // connections at a time
        uint64_t limit;     // so many in all; 0: no limit
        int silenceMs;      // a connection may be silent for so long; 0: no limit
        int lifeMs;         // and may last for so long; 0: no limit
        int retryMs;        // to the next attempt when the system lacks something
        ObjRef handlerCmd;  // called with channel, address and port
        // Called with one of these:
        //   claimed ID, released ID   of a connection that has one
        //   last                      the limit is reached
        //   empty                     nothing waits, see tellWhenEmpty
        //   closed                    nothing can come any more
        //   idle                      not wanted, and nothing is served
        //   failed MESSAGE OPTIONS CODE CHANNEL
        //       the handler, or taking (without a channel)
        ObjRef toldCmd;
    };

    Serving(Tcl_Interp *interp, Settings settings);
    ~Serving();
    Serving(const Serving &) = delete;
    Serving &operator=(const Serving &) = delete;

    // Takes connections, or takes none. At first it takes none.
    void want(bool wanted);
    void tellWhenEmpty();
    // In a forked copy: nothing of this is its business.
    void abandon();

    uint64_t taken() const { return taken_; }
    size_t open() const { return open_.size(); }
    int calls() const { return calls_; } // of the handler, running
    Tcl_Obj *channels() const;           // names of those that it serves

private:
    struct Connection {
        ObjRef channel; // its name
        uint64_t claim;
        uint64_t beganMs;
    };
    struct Words;
    struct Later;

    bool takes() const;
    void watch();
    void turnLater();
    void rest(int ms);
    void turn();
    bool takeOne();
    bool waitsNext() const;
    void begin(QueuedConnection connection);
    void callHandler(const Words &words, int number);
    bool yieldsFirst();
    void giveWay();
    void failedTaking(const Error &error);
    int track(Tcl_Channel channel, uint64_t claim);
    void closed(int number);
    void endOldOnes();
    void endIn(uint64_t ms);
    void tell(std::initializer_list<Tcl_Obj *> words);
    void tellFailed(int code, Tcl_Obj *channel);
    static std::unique_ptr<Later> contentOf(Tcl_Event *event);
    static void onReadable(void *serving, int mask);
    static void onRested(void *serving);
    static void onSetup(void *serving, int flags);
    static int onTurn(Tcl_Event *event, int flags);
    static int onClosedElsewhere(Tcl_Event *event, int flags);
    static int onReleased(Tcl_Event *event, int flags);

    Tcl_Interp *interp_;
    Settings settings_;
    Tcl_ThreadId thread_;
    // By number, see ChannelTracking: the oldest is the first one.
    std::map<int, Connection> open_;
    int lastOld_ = -1; // those up to this number have lasted long enough
    uint64_t taken_ = 0;
    int calls_ = 0;
    bool wanted_ = false;
    bool watching_ = false;
    bool yielding_ = false;
    bool othersFirst_ = false; // the last turn was long
    bool troubled_ = false;    // the last attempt to take one failed
    bool tellsEmpty_ = false;
    bool abandoned_ = false;
    Tcl_TimerToken rest_ = nullptr;
    Tcl_TimerToken end_ = nullptr;
};

} // namespace uds

#endif
