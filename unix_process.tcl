# unix_process --
#
#   fork, wait, signals and exits of children, safe with Tcl's event loop. Most
#   commands are written in C++, see cpp/cmd_process.cpp; the manual is
#   man/unix_process.man.

package require Tcl 8.6-
package require uds

namespace eval unix_process {
    namespace export {[a-z]*}
    namespace ensemble create

    # Channels that this process got from its parent by fork. They are the
    # parent's to flush. Known for the process `forked`.
    variable inherited {}
    variable forked [pid]

    # Command prefixes that packages want to be called in every forked child.
    variable childHooks {}
}

# unix_process::exit ?code? --
#
#   Ends a forked child: flushes and closes what it opened itself and flushes
#   its standard output and error; leaves everything inherited alone.

proc unix_process::exit {{code 0}} {
    variable inherited
    NoteInherited
    if {![string is integer -strict $code]} {
        throw [list UNIX_PROCESS CODE $code] "bad exit code \"$code\": must be an integer"
    }
    foreach channel [chan names] {
        if {$channel in {stdout stderr}} {
            catch {flush $channel}
        } elseif {$channel ni $inherited} {
            catch {chan configure $channel -blocking 1}
            catch {close $channel}
        }
    }
    Exit $code
}

# unix_process::BecomeChild --
#
#   Called by fork in the child, once its notifier is in place.

proc unix_process::BecomeChild {{seedCmd ::tcl::mathfunc::srand}} {
    variable childHooks
    NoteInherited
    SeedRandom {} $seedCmd
    foreach hookCmd $childHooks {
        uplevel #0 $hookCmd
    }
}

# The first call in a process decides; a fork that is not ours (TclX) is only
# noticed when somebody asks.
proc unix_process::NoteInherited {} {
    variable inherited
    variable forked
    if {$forked != [pid]} {
        set forked [pid]
        set inherited [chan names]
    }
}

# Without this, every child of one parent would draw the same numbers. Each
# interpreter has a generator of its own.
proc unix_process::SeedRandom {path seedCmd} {
    set seed [expr {([clock microseconds] ^ ([pid] * 2654435761)) & 0x7fffffff}]
    interp eval $path [list {*}$seedCmd $seed]
    foreach child [interp slaves $path] {
        SeedRandom [list {*}$path $child] $seedCmd
    }
}

# Has these procedures compiled, and changes nothing. In a child the first call
# of each would take longer than the fork: the compiler touches many pages, and
# the child gets its copy of each by a page fault.
catch {unix_process::BecomeChild list}
