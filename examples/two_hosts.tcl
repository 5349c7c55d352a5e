#!/usr/bin/env tclsh
# two_hosts.tcl --
#
#   Two hosts, each with a pool, behind HAProxy on a third; all three are network name
#   spaces of this machine, so it needs root. A host is drained and comes back, the other
#   one dies: clients notice nothing, and the pools see the clients' addresses.
#
#     tclsh examples/two_hosts.tcl

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require fileutil
package require unix_process
source [file join [file dirname [file normalize [info script]]] clients.tcl]

if {$argc > 1 || [lindex $argv 0] in {--help -help -?}} {
    puts "usage: two_hosts.tcl\nshows two hosts behind HAProxy; needs root, haproxy and ip"
    exit [expr {$argc > 1}]
}

set root [file dirname [file dirname [file normalize [info script]]]]
set front 10.99.0.1

# ---- hosts ---------------------------------------------------------------------------

# Each has a cable to the balancer: 10.99.N.1 is the balancer's end, 10.99.N.2 the host's.
proc makeHosts {balancer} {
    exec ip -n $balancer link set lo up
    exec ip -n $balancer address add $::front/32 dev lo
    foreach n {1 2} {
        exec ip -n $balancer link add host$n type veth peer name cable netns $balancer-$n
        foreach {space device end} [list $balancer host$n 1 $balancer-$n cable 2] {
            exec ip -n $space address add 10.99.$n.$end/30 dev $device
            exec ip -n $space link set dev $device up
        }
        exec ip -n $balancer-$n route add default via 10.99.$n.1
    }
}

proc startPool {balancer n} {
    fileutil::writeFile $::directory/app$n.tcl "source [list $::root/examples/httpd.tcl]
        proc httpd::hello {request} {
            return \[http1::text \"host $n for \[dict get \$request address]\\n\"]
        }"
    return [exec ip netns exec $balancer-$n [info nameofexecutable] $::root/bin/socketserver \
        --listen 10.99.$n.2:8080 --proxyprotocol require --health 10.99.$n.2:9090 \
        --draindelay 3000 --workers 2 --concurrency 16 --control $::directory/control$n \
        $::directory/app$n.tcl < /dev/null >> $::directory/pool$n.log 2>@1 &]
}

# Hosts that are slow because this machine is busy are not to count as dead.
proc startHaproxy {} {
    set file $::directory/haproxy.cfg
    fileutil::writeFile $file [string map {"timeout check 1s" "timeout check 20s"} \
        [fileutil::cat $::root/examples/haproxy.cfg]]
    return [exec env HAPROXY_STATS=$::directory/haproxy.sock HAPROXY_BIND=$::front:80 \
        POOL1=10.99.1.2:8080 HEALTH1=9090 POOL2=10.99.2.2:8080 HEALTH2=9090 \
        haproxy -db -f $file < /dev/null >> $::directory/haproxy.log 2>@1 &]
}

# ---- the story -----------------------------------------------------------------------

# So many answers in a row, all by one of these hosts; and each of them gave some.
proc servedBy {hosts} {
    set count 0
    set seen {}
    while {$count < 50 || [llength [lsort -unique $seen]] < [llength $hosts]} {
        set clients::last ""
        clients::await {$::clients::last ne ""}
        set host [lindex $clients::last 1]
        lappend seen $host
        set count [expr {$host in $hosts ? $count + 1 : 0}]
        if {$host ni $hosts} {
            set seen {}
        }
    }
}

proc story {balancer} {
    makeHosts $balancer
    foreach n {1 2} {
        set ::pids(pool$n) [startPool $balancer $n]
        clients::await {[file exists $::directory/control$n]}
    }
    set ::pids(haproxy) [startHaproxy]
    clients::await {![catch {close [socket $::front 80]}]}
    clients::start $::front 80 4
    servedBy {1 2}
    clients::forget ;# before HAProxy had asked whether they are well
    puts "both hosts serve"
    clients::ctl $::directory/control1 drain
    servedBy 2
    puts "host 1 is drained: host 2 serves"
    clients::ctl $::directory/control1 resume
    servedBy {1 2}
    puts "host 1 is back: both serve"
    unix_process::kill $::pids(pool2) SIGKILL
    servedBy 1
    puts "host 2 has died: host 1 serves"
    clients::end
}

# In the balancer's name space.
proc inside {balancer} {
    set ::directory [fileutil::maketempdir -prefix hosts-]
    set failed 0
    try {
        story $balancer
    } on error {message} {
        set failed 1
        puts "FAILED: $message"
        foreach log [glob -nocomplain $::directory/*.log] {
            puts [fileutil::cat $log]
        }
    } finally {
        foreach name [array names ::pids] {
            catch {unix_process::kill $::pids($name) SIGTERM}
        }
        file delete -force $::directory
    }
    exit [expr {[clients::report] || $failed}]
}

if {$argc == 1} {
    inside [lindex $argv 0]
}
set balancer tcl-[pid]
foreach space [list $balancer $balancer-1 $balancer-2] {
    if {[catch {exec ip netns add $space} message]} {
        puts stderr "two_hosts.tcl: couldn't make a network name space: $message"
        exit 1
    }
}
set status 0
try {
    exec ip netns exec $balancer [info nameofexecutable] [info script] $balancer >@stdout 2>@stderr
} trap CHILDSTATUS {- failure} {
    set status [lindex [dict get $failure -errorcode] 2]
} finally {
    foreach space [list $balancer-1 $balancer-2 $balancer] {
        catch {exec ip netns delete $space}
    }
}
exit $status
