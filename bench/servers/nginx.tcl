#!/usr/bin/env tclsh
# nginx.tcl: the jobs of bench/reload.tcl and bench/http.tcl with nginx.
#
#   tclsh nginx.tcl WORKERS
#
# Answers "GET LINE" with the line, with HTTP 0.9, and / with "hello, world". Prints
# "ready PORT PID ..." with the pids, the master's first. Each line on standard input
# makes it reload; it prints "reloaded" when all new workers serve and the old ones end,
# and ends at end of file.

# A free port.
proc freePort {} {
    set listener [socket -server {} -myaddr 127.0.0.1 0]
    set port [lindex [chan configure $listener -sockname] 2]
    close $listener
    return $port
}

proc writeConfiguration {directory workers port} {
    file mkdir $directory
    set file [open [file join $directory nginx.conf] w]
    puts $file [string map [list %WORKERS $workers %PORT $port] {
        daemon off;
        pid nginx.pid;
        error_log stderr crit;
        worker_processes %WORKERS;
        events {
            worker_connections 1024;
        }
        http {
            access_log off;
            keepalive_requests 1000000000;
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            server {
                listen 127.0.0.1:%PORT backlog=1024;
                location = / {
                    return 200 "hello, world\n";
                }
                location / {
                    return 200 "$request_uri\n";
                }
            }
        }
    }]
    close $file
}

# The children of nginx that are workers and are not about to end.
proc workers {master} {
    set file [open /proc/$master/task/$master/children]
    set pids [read $file]
    close $file
    return [lmap pid $pids {
        if {[catch {open /proc/$pid/cmdline} file]} {
            continue
        }
        set title ""
        catch {set title [read $file]}
        close $file
        if {![string match "nginx: worker process*" $title] ||
            [string match *shutting* $title]} {
            continue
        }
        set pid
    }]
}

# Until there are so many, and none of the old ones.
proc awaitWorkers {master count old} {
    while 1 {
        set pids [workers $master]
        if {[llength $pids] == $count && [llength [lmap pid $pids {
            expr {$pid in $old ? $pid : [continue]}
        }]] == 0} {
            return $pids
        }
        after 1
    }
}

set count [lindex $argv 0]
close [file tempfile directory /tmp/reload]
file delete $directory
set port [freePort]
writeConfiguration $directory $count $port
set nginx [open |[list nginx -e stderr -p $directory -c nginx.conf 2>@stderr] r+]
set master [pid $nginx]
try {
    set serving [awaitWorkers $master $count {}]
    puts "ready $port $master $serving"
    flush stdout
    while {[gets stdin] ne "" || ![eof stdin]} {
        exec kill -HUP $master
        set serving [awaitWorkers $master $count $serving]
        puts reloaded
        flush stdout
    }
} finally {
    exec kill -TERM $master
    catch {close $nginx}
    file delete -force $directory
}
