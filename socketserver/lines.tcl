# socketserver/lines.tcl --
#
#   A server inside of the parent, which must never wait: control.tcl and
#   health.tcl. It converses in lines, from the event loop, with few peers at a
#   time, and each of them gets little memory and little time.

namespace eval socketserver {
    # Milliseconds that a peer gets to read the last answer and to close; then
    # those between attempts while there is no descriptor to accept with.
    variable farewellMs 1000
    variable acceptRetryMs 100
    # What is no UTF-8 must not be an error.
    variable lineEncoding utf-8
    if {[package vsatisfies [package provide Tcl] 9-]} {
        variable lineEncoding {-profile replace utf-8}
    }
}

# A subclass has the methods
#   Admit channel              why this peer is not served, empty if it is
#   Request conversation line  sees to it that `conversation answer` or `leave` is
#                              called, once, now or later
#   Crowded, Overlong          the last words to a peer more than there may be, and
#                              to one whose line is too long
oo::class create socketserver::LineServer {
    # endpoint       of unix_sockets::listener; options: its options
    # limits         dict: connections at once, line in bytes, silence in
    #                milliseconds: until a line is there, and until an answer is read
    # logCmd         called with level and message, never throws; or empty
    # listener       channel; empty while it does not listen
    # conversations  objects, each with 1 while it is served, 0 when it is leaving
    # crowded        peers have been turned away since there was last room
    # troubled       the last attempt to accept failed
    # retryId        timer of the next one
    variable endpoint options limits logCmd listener conversations crowded troubled retryId

    constructor {where listenerOptions bounds loggerCmd} {
        set endpoint $where
        set options $listenerOptions
        set limits $bounds
        set logCmd $loggerCmd
        set listener ""
        set conversations [dict create]
        set crowded 0
        set troubled 0
        set retryId ""
        my listen
    }

    destructor {
        if {![info exists conversations]} {
            return ;# a subclass's constructor has failed before
        }
        my unlisten
        foreach conversation [dict keys $conversations] {
            $conversation destroy
        }
    }

    method listen {} {
        if {$listener eq ""} {
            set listener [unix_sockets::listener {*}$options -- $endpoint]
            my Watch
        }
        return
    }

    # Makes the place free for another process. Conversations go on.
    method unlisten {} {
        after cancel $retryId
        if {$listener ne ""} {
            close $listener
            set listener ""
        }
        return
    }

    # Empty while it does not listen.
    method listener {} {
        return $listener
    }

    # From a conversation: it serves no more, or it has ended.

    method leaving {conversation} {
        dict set conversations $conversation 0
    }

    method ended {conversation} {
        dict unset conversations $conversation
    }

    # ---- private -------------------------------------------------------------

    method Log {level message} {
        if {$logCmd ne ""} {
            uplevel #0 [list {*}$logCmd $level $message]
        }
    }

    method Watch {} {
        chan event $listener readable [namespace code {my Accept}]
    }

    # Never throws: Tcl would take the event away.
    method Accept {} {
        try {
            set accepted [unix_sockets::accept $listener]
        } on error {message} {
            if {!$troubled} {
                my Log error "$endpoint: $message"
            }
            set troubled 1
            chan event $listener readable {}
            set retryId [after $::socketserver::acceptRetryMs [namespace code {my Watch}]]
            return
        }
        set troubled 0
        if {[llength $accepted] > 0} {
            try {
                my Receive [lindex $accepted 0]
            } on error {message} {
                my Log error "$endpoint: $message"
                catch {close [lindex $accepted 0]}
            }
        }
    }

    method Receive {channel} {
        set served [llength [lsearch -all -exact [dict values $conversations] 1]]
        set most [dict get $limits connections]
        # One that is turned away may take a moment to leave, but not each of a crowd.
        if {[dict size $conversations] >= 2 * $most} {
            close $channel
            return
        }
        set refusal [my Admit $channel]
        set conversation [::socketserver::Conversation new [self] $channel $limits \
            [namespace code {my Request}] [namespace code {my Overlong}]]
        dict set conversations $conversation 1
        if {$refusal ne ""} {
            $conversation leave $refusal
        } elseif {$served >= $most} {
            if {!$crowded} {
                my Log warn "$endpoint: $most connections are open, no more are served"
            }
            set crowded 1
            $conversation leave [my Crowded]
        } else {
            set crowded 0
        }
    }
}

# One connection. It takes a line, waits for the answer to be made, and for the
# peer to read it; then it takes the next line. So no more than one answer is
# ever kept for a peer that does not read, and the order is kept.
oo::class create socketserver::Conversation {
    # buffer      bytes of lines that were not taken yet
    # requestCmd  called with this object and a line; overlongCmd: gives last words
    # timerId     of the limit of the time
    variable server channel limits requestCmd overlongCmd buffer timerId

    constructor {lineServer connection bounds onrequestCmd onoverlongCmd} {
        set server $lineServer
        set channel $connection
        set limits $bounds
        set requestCmd $onrequestCmd
        set overlongCmd $onoverlongCmd
        set buffer ""
        set timerId ""
        chan configure $channel -blocking 0 -translation binary -buffersize 4096
        my Await readable Readable [dict get $limits silence]
    }

    destructor {
        after cancel $timerId
        my Close
        $server ended [self]
    }

    method answer {text} {
        my Write $text
        my Await writable Flushed [dict get $limits silence]
    }

    # The last answer. The peer may still be writing: a connection that is closed
    # on unread input is reset, and the answer may be lost with it.
    method leave {text} {
        $server leaving [self]
        my Write $text
        if {[my Unsent] == 0} {
            catch {chan close $channel write}
        }
        my Await readable Discard $::socketserver::farewellMs
    }

    # ---- private -------------------------------------------------------------

    # Waits for an event, but not for ever. Without an event: for the application.
    method Await {event method ms} {
        after cancel $timerId
        set timerId ""
        foreach each {readable writable} {
            catch {chan event $channel $each {}}
        }
        if {$event ne ""} {
            chan event $channel $event [namespace code [list my $method]]
            set timerId [after $ms [namespace code {my destroy}]]
        }
    }

    method Write {text} {
        catch {
            puts -nonewline $channel [encoding convertto {*}$::socketserver::lineEncoding $text]
            flush $channel
        }
    }

    method Unsent {} {
        if {[catch {chan pending output $channel} unsent]} {
            return 0
        }
        return $unsent
    }

    # Closing would go on writing in the background, for as long as it takes.
    method Close {} {
        if {[my Unsent] > 0} {
            ::forkserver::Discard [list $channel]
        } else {
            catch {close $channel}
        }
    }

    method Readable {} {
        set room [expr {[dict get $limits line] + 1 - [string length $buffer]}]
        if {[catch {read $channel $room} bytes]} {
            my destroy
            return
        }
        append buffer $bytes
        my Next
    }

    # Tcl calls this when the answer is written, or never can be.
    method Flushed {} {
        if {[my Unsent] == 0} {
            my Await readable Readable [dict get $limits silence]
            my Next
        }
    }

    # A last line need not end with a newline.
    method Next {} {
        set end [string first \n $buffer]
        if {$end < 0 && [string length $buffer] > [dict get $limits line]} {
            my leave [{*}$overlongCmd]
            return
        }
        if {$end < 0 && [eof $channel]} {
            if {$buffer eq ""} {
                my destroy
                return
            }
            set end [string length $buffer]
        }
        if {$end >= 0} {
            set line [string range $buffer 0 $end-1]
            set buffer [string range $buffer $end+1 end]
            my Await "" "" 0
            {*}$requestCmd [self] [encoding convertfrom {*}$::socketserver::lineEncoding $line]
        }
    }

    method Discard {} {
        if {[catch {read $channel 65536}] || [eof $channel]} {
            my destroy
        }
    }
}
