# forkserver/child.tcl --
#
#   A child: what its script can ask for, and its life from fork to exit.

# forkserver::child socket|handles|args|server --
#
#   In a child: its end of the socket pair, the channels and the arguments that
#   it was given, and its own connection to the fork server.

namespace eval forkserver::child {
    namespace ensemble create -command ::forkserver::child -map {
        socket  {::forkserver::ChildValue socket}
        handles {::forkserver::ChildValue handles}
        args    {::forkserver::ChildValue args}
        server  ::forkserver::ChildServer
    }
}

proc forkserver::ChildValue {name} {
    variable childState
    if {![dict exists $childState $name]} {
        throw {FORKSERVER NOCHILD} "this process is not a child of a fork server"
    }
    return [dict get $childState $name]
}

proc forkserver::ChildServer {} {
    variable childState
    set door [ChildValue door]
    if {![dict exists $childState server]} {
        set channel [Knock $door]
        dict set childState server [Connection new $channel [dict get $childState serverPid] 0 {}]
    }
    return [dict get $childState server]
}

# In a child: a connection to its server, given to it through the door.
proc forkserver::Knock {door} {
    lassign [Try SOCKET {unix_sockets::pair}] mine theirs
    try {
        Try WRITE {unix_sockets::sendfd $door $theirs [pid]}
    } trap {FORKSERVER WRITE POSIX EPIPE} {} {
        close $mine
        throw {FORKSERVER LOST} "the fork server is gone"
    } on error {message failure} {
        close $mine
        return -options $failure $message
    } finally {
        close $theirs
    }
    return $mine
}

# ---- from fork to exit -------------------------------------------------------

# Never returns, whatever happens: there must be no second server. The first
# command is what is still to be done before it is a child.
proc forkserver::server::RunChild {beginCmd descriptors script arguments title} {
    catch {
        {*}$beginCmd
        SetTitle $title
        TakeOver $descriptors $arguments
        set ::argv $arguments
        set ::argc [llength $arguments]
        uplevel #0 $script
    } message failure
    set code [dict get $failure -code] ;# that of "return -code", too
    if {$code == 1} {
        catch {puts stderr [dict get $failure -errorinfo]}
        TellFailure $message $failure
    }
    unix_process::exit [expr {$code == 1}]
}

proc forkserver::server::LeaveServer {} {
    variable openFiles
    variable callers
    variable door
    variable life
    variable spares
    close $door
    # What a caller has not read yet is the server's to write. Not the objects
    # around the channels: to delete those touches many pages.
    ::forkserver::Discard [list {*}$life {*}[dict values $spares] \
        {*}[lmap link [dict keys $callers] {$link channel}]]
    set callers {}
    set spares {}
    ::forkserver::ResetSignals {}
    # Somebody may have lowered the hard limit.
    catch {unix_process::rlimit nofile $openFiles}
}

proc forkserver::server::TakeOver {descriptors arguments} {
    variable serverPid
    variable childDoor
    set channels [lmap fd $descriptors {unix_sockets::adopt $fd}]
    set ::forkserver::childState [dict create pid [pid] door $childDoor serverPid $serverPid \
        socket [lindex $channels 0] handles [lrange $channels 1 end] args $arguments]
}

# The server reads it before it tells of the exit.
proc forkserver::server::TellFailure {message failure} {
    variable childDoor
    catch {
        set link [::forkserver::Link new [::forkserver::Knock $childDoor]]
        $link send [list 0 failed [::forkserver::Shortened $message] \
            [::forkserver::Portable $failure]] 1
    }
}
