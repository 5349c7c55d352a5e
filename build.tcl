#!/usr/bin/env tclsh
# Builds, checks and installs the project: `tclsh build.tcl help` lists the verbs.
#
# In this file: reporting, building, suites, variants, Tcl 9, lint, measurements, manual
# pages, installing, and at the end the table of verbs.
#
# All output goes to lib/ (what `package require` loads) and build/ (the rest).

package require Tcl 8.6-
package require fileutil

set root [file dirname [file normalize [info script]]]
set major [lindex [split [info tclversion] .] 0]
set library [file join lib tcl$major uds[info sharedlibextension]]

# ---- reporting -------------------------------------------------------------------

# Ends a verb with a reason for the user.
proc Fail {message} {
    throw {BUILD FAILED} $message
}

# Ends a check or a step that cannot be done here; it counts as skipped.
proc Skip {message} {
    throw {BUILD SKIPPED} $message
}

proc Tool {name} {
    set found [auto_execok $name]
    if {$found eq {}} {
        Skip "there is no $name here"
    }
    return $found
}

# Runs a command, shows its output as it comes, returns the last line of it.
proc Stream {command} {
    set channel [open |[list {*}$command < /dev/null 2>@1]]
    chan configure $channel -buffering none
    set output {}
    while {[set character [chan read $channel 1]] ne {}} {
        puts -nonewline $character
        flush stdout
        append output $character
    }
    catch {close $channel}
    return [lindex [split [string trimright $output] \n] end]
}

proc Seconds {since} {
    return [format "%.1f s" [expr {([clock milliseconds] - $since) / 1000.0}]]
}

# Outcomes are counted as {passed N failed N skipped N}.
proc Counts {passed failed skipped} {
    return [dict create passed $passed failed $failed skipped $skipped]
}

proc AddCounts {a b} {
    return [dict map {name count} $a {expr {$count + [dict get $b $name]}}]
}

# What the last line of tests/all.tcl says; anything else is a failure.
proc CountsOf {line} {
    set summary {^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$}
    if {![regexp $summary $line -> passed failed skipped]} {
        puts "the suites ended without a summary"
        return [Counts 0 1 0]
    }
    return [Counts $passed $failed [expr {$skipped eq {} ? 0 : $skipped}]]
}

proc Summary {counts} {
    dict with counts {
        return "$passed passed, $failed failed[expr {$skipped ? ", $skipped skipped" : ""}]"
    }
}

# Ends a verb that counts: the summary is the last line of the output.
proc Conclude {verbName counts} {
    set bad [expr {[dict get $counts failed] > 0 || [dict get $counts passed] == 0}]
    if {$bad} {
        set failed [dict get $counts failed]
        puts stderr "build.tcl $verbName: [expr {$failed ? "$failed failed" : "nothing ran"}]"
    }
    puts [Summary $counts]
    exit $bad
}

# One part of a verb that goes on when the part fails.
proc Step {title script} {
    set began [clock milliseconds]
    puts "== $title"
    try {
        set counts [uplevel 1 $script]
    } trap {BUILD SKIPPED} reason {
        puts "skipped: $title: $reason"
        set counts [Counts 0 0 1]
    } on error {message options} {
        puts [Reason $message $options]
        set counts [Counts 0 1 0]
    }
    puts "== $title: [Summary $counts] ([Seconds $began])\n"
    return $counts
}

# A mistake in this file shows where it is; other errors explain themselves.
proc Reason {message options} {
    if {[lindex [dict get $options -errorcode] 0] in {BUILD POSIX CHILDSTATUS CHILDKILLED}} {
        return $message
    }
    return [dict get $options -errorinfo]
}

# ---- building --------------------------------------------------------------------

proc UpToDate {target sources} {
    if {![file exists $target]} {
        return 0
    }
    set built [file mtime $target]
    foreach source $sources {
        if {[file mtime $source] >= $built} {
            return 0
        }
    }
    return 1
}

# Lets critcl build the library. The target appears complete or not at all, and is
# dated from before the compiler read the sources, which may change meanwhile.
proc BuildLibrary {target {cflags {}} {ldflags {}} {options {}}} {
    if {[UpToDate $target [glob -directory [file join $::root cpp] *]]} {
        return
    }
    set began [clock milliseconds]
    puts "building [fileutil::stripPath $::root $target] for Tcl [info patchlevel]"
    set work [file join $::root build critcl-[pid]]
    file mkdir $work [file dirname $target]
    try {
        exec -ignorestderr env "UDS_CFLAGS=$cflags" "UDS_LDFLAGS=$ldflags" {*}[Critcl] \
            {*}$options -cache [file join $work cache] -libdir [file join $work out] \
            -pkg [file join $::root cpp uds.tcl] > [file join $work log] 2>@1
        file copy [glob [file join $work out uds * uds[info sharedlibextension]]] $target.[pid]
        file mtime $target.[pid] [expr {$began / 1000}]
        file rename -force $target.[pid] $target
    } on error {} {
        Fail "critcl couldn't build the library:\n[fileutil::cat [file join $work log]]"
    } finally {
        file delete -force $work
    }
    puts "built in [Seconds $began]"
}

# Debian's critcl program names its own tclsh; this runs it with ours.
proc Critcl {} {
    set program [auto_execok critcl]
    if {$program eq {}} {
        Fail "critcl is not installed: ./bootstrap build installs what is needed"
    }
    return [list [info nameofexecutable] {*}$program]
}

proc Build {} {
    BuildLibrary [file join $::root $::library]
}

# ---- suites ----------------------------------------------------------------------

proc RunSuites {directory shell pattern {environment {}}} {
    set program [file join $directory tests all.tcl]
    return [CountsOf [Stream [list env {*}$environment {*}$shell $program $pattern]]]
}

proc Suites {pattern} {
    Build
    return [RunSuites $::root [list [info nameofexecutable]] $pattern]
}

# ---- variants --------------------------------------------------------------------

# Other builds of the same sources. Packages find their library beside them, so a
# variant's suites run in a copy of the sources with the variant's library in it,
# where other users may enter as well.

# Compiler flags, linker flags, critcl's options.
# No vptr: that check takes a pipe each time, and suites run without descriptors.
set sanitizers {-fsanitize=address,undefined -fno-sanitize=vptr}
set variants [dict create \
    portable {-DUDS_PORTABLE} \
    sanitize [list "-O1 -fno-sanitize-recover=undefined $sanitizers" $sanitizers {-debug symbols}]]

proc VariantPath {name file} {
    return [file join $::root build $name tcl$::major $file]
}

# Runs the script with the path of the copy in a variable.
proc WithVariant {name copyName script} {
    upvar 1 $copyName copy
    set built [VariantPath $name [file tail $::library]]
    BuildLibrary $built {*}[dict get $::variants $name]
    set copy [file join [fileutil::tempdir] uds-$name-[pid]]
    file mkdir [file join $copy [file dirname $::library]]
    try {
        foreach item [glob -tails -directory $::root *] {
            if {$item ni {build lib}} {
                file copy [file join $::root $item] $copy
            }
        }
        file copy $built [file join $copy $::library]
        uplevel 1 $script
    } finally {
        file delete -force $copy
    }
}

proc Portable {pattern} {
    WithVariant portable copy {
        RunSuites $copy [list [info nameofexecutable]] $pattern
    }
}

proc Sanitize {pattern} {
    WithVariant sanitize copy {
        set reports [file join $copy reports]
        file mkdir $reports
        file attributes $reports -permissions 01777 ;# suites also run as another user
        set shell [SanitizedShell $copy]
        set counts [RunSuites $copy $shell $pattern [SanitizerOptions $reports]]
        AddCounts $counts [Findings $reports]
    }
}

# A tclsh that has the sanitizers' run-time: no LD_PRELOAD, which would also change
# the programs that the suites start. Without address randomization where that is
# allowed, because some kernels randomize more than the run-time can bear.
proc SanitizedShell {copy} {
    set shell [VariantPath sanitize tclsh]
    if {![file exists $shell]} {
        set flags [list -I[IncludeDirectory] -x c - -ltcl[info tclversion]]
        exec gcc {*}$::sanitizers -g -o $shell.[pid] {*}$flags << {
            #include <tcl.h>
            int main(int argc, char **argv) {
                Tcl_Main(argc, argv, Tcl_Init);
                return 0;
            }
        }
        file rename -force $shell.[pid] $shell
    }
    file copy $shell $copy
    set program [file join $copy [file tail $shell]]
    return [expr {[catch {exec setarch -R true}] ? [list $program] : [list setarch -R $program]}]
}

# All reports go to files that Findings reads. They do not change an exit status,
# because most leaks are Tcl's own, which does not free everything at exit.
proc SanitizerOptions {reports} {
    set log log_path=[file join $reports report]
    return [list UBSAN_OPTIONS=$log:print_stacktrace=1 LSAN_OPTIONS=print_suppressions=0 \
        ASAN_OPTIONS=$log:exitcode=0:detect_leaks=1:handle_segv=0:quarantine_size_mb=16]
}

# Every error is a failure, and every leak that our code has a part in.
proc Findings {reports} {
    set failed 0
    set blind 0
    foreach file [glob -nocomplain -directory $reports *] {
        set text [fileutil::cat $file]
        # In a process that is traced, or may not start a thread.
        incr blind [regexp {LeakSanitizer has encountered a fatal error} $text]
        foreach part [regexp -all -inline {(?:[^\n]+\n)+} $text] {
            set isLeak [regexp {^(Direct|Indirect) leak of} $part]
            set isError [regexp {ERROR: AddressSanitizer|runtime error:} $part]
            if {$isError || $isLeak && [regexp {uds::|uds\.so|/cpp/} $part]} {
                puts $part
                incr failed
            }
        }
    }
    puts "sanitizers: $failed findings in our code; $blind processes not searched for leaks"
    return [Counts [expr {$failed == 0}] $failed 0]
}

# ---- fuzzing ---------------------------------------------------------------------

# Targets are tests/fuzz/*.cpp, and *.tcl but the harness; each runs for so many
# seconds. What has made one fail stays in build/fuzz. See doc/fuzzing.md.

# As the sanitizers' build; a failed check of undefined behaviour ends the target.
set fuzzFlags [list -std=c++17 -g -O1 -fno-exceptions -fno-sanitize-recover=undefined \
    {*}$sanitizers]

proc Fuzz {seconds} {
    set counts [Counts 0 0 0]
    foreach name [FuzzNames cpp] {
        set counts [AddCounts $counts [Step "fuzz $name" {FuzzTarget $name $seconds}]]
    }
    WithVariant sanitize copy {
        set shell [SanitizedShell $copy]
        foreach name [FuzzNames tcl] {
            set counts [AddCounts $counts [Step "fuzz $name" {
                FuzzProgram $copy $shell $name $seconds
            }]]
        }
    }
    return $counts
}

proc FuzzNames {type} {
    set files [glob -tails -directory [file join $::root tests fuzz] *.$type]
    return [lsearch -all -inline -not [lsort [lmap file $files {file rootname $file}]] harness]
}

proc FuzzPath {args} {
    set path [file join $::root build fuzz {*}$args]
    file mkdir [file dirname $path]
    return $path
}

# All of posix_*.cpp, for the targets to be linked with.
proc FuzzObjects {} {
    set directory [FuzzPath objects]
    if {![UpToDate $directory [CppFiles posix_*]]} {
        set began [clock seconds]
        file delete -force $directory $directory.new
        file mkdir $directory.new
        set before [pwd]
        cd $directory.new
        set command [list {*}[Tool clang++] {*}$::fuzzFlags -fsanitize=fuzzer-no-link -c FILE]
        set output [ForEachFile [CppFiles posix_*.cpp] $command]
        cd $before
        if {$output ne {}} {
            Fail $output
        }
        file mtime $directory.new $began
        file rename $directory.new $directory
    }
    return [glob -directory $directory *.o]
}

# No name is looked up: see fuzz.h.
proc FuzzBinary {name} {
    set objects [FuzzObjects]
    set home [file join $::root tests fuzz]
    set binary [FuzzPath $name]
    if {![UpToDate $binary [list {*}$objects {*}[glob -directory $home *.h] $home/$name.cpp]]} {
        exec {*}[Tool clang++] {*}$::fuzzFlags -Wall -Wextra -fsanitize=fuzzer \
            -Wl,--wrap=getaddrinfo -I[file join $::root cpp] $home/$name.cpp {*}$objects -o $binary
    }
    return $binary
}

# The kept inputs, and what was found since: a directory for libFuzzer.
proc FuzzCorpus {name} {
    set directory [FuzzPath corpus $name]
    file mkdir $directory
    set number 0
    foreach line [split [fileutil::cat [file join $::root tests fuzz corpus $name.txt]] \n] {
        fileutil::writeFile -translation binary [file join $directory kept[incr number]] \
            [binary decode base64 $line]
    }
    return $directory
}

proc FuzzTarget {name seconds} {
    set command [list {*}[FuzzBinary $name] [FuzzCorpus $name] -max_total_time=$seconds \
        -timeout=20 -print_final_stats=1 -artifact_prefix=[FuzzPath $name-]]
    set log [FuzzPath $name.log]
    set channel [open |[list {*}$command < /dev/null 2>@1]]
    set file [open $log w]
    set told [clock seconds]
    set inputs 0
    while {[gets $channel line] >= 0} {
        puts $file $line
        if {[regexp {^#(\d+)|number_of_executed_units: (\d+)} $line -> seen all]} {
            set inputs $seen$all
        }
        if {[clock seconds] - $told >= 10} {
            set told [clock seconds]
            puts "$name: $inputs inputs"
            flush stdout
        }
    }
    close $file
    if {[catch {close $channel}]} {
        regexp {(ERROR: |[^\n]*runtime error: ).*} [fileutil::cat $log] report
        Fail "[string range $report 0 4999]\n$name: the log is $log; again: [FuzzPath $name] INPUT"
    }
    puts "$name: done, $inputs inputs"
    return [Counts 1 0 0]
}

# One in Tcl, on the library with sanitizers; it prints what it does. The time beyond
# the given one is for its start and its last checks.
proc FuzzProgram {copy shell name seconds} {
    set reports [file join $copy reports-$name]
    file mkdir $reports
    set last [Stream [list env {*}[SanitizerOptions $reports] timeout --signal=KILL \
        [expr {$seconds + 120}] {*}$shell [file join $copy tests fuzz $name.tcl] \
        -seconds $seconds -save [FuzzPath]]]
    if {![string match "$name: done, *" $last]} {
        set inputs [glob -nocomplain -directory [FuzzPath] $name-*.input]
        Fail "$name failed, or hung, with: [join $inputs { }]"
    }
    return [Findings $reports]
}

# ---- faults ----------------------------------------------------------------------

# What makes system calls fail, see tests/faults/inject.cpp.
proc BuildInjector {} {
    set source [file join $::root tests faults inject.cpp]
    set target [file join $::root build faults tcl$::major inject[info sharedlibextension]]
    if {![UpToDate $target [list $source]]} {
        file mkdir [file dirname $target]
        exec -ignorestderr {*}[Tool g++] -std=c++17 -O1 -g -Wall -Wno-ignored-attributes \
            -shared -fPIC -I[IncludeDirectory] -o $target.[pid] $source
        file rename -force $target.[pid] $target
    }
    return $target
}

proc Faults {pattern} {
    Build
    set program [file join $::root tests faults.tcl]
    return [CountsOf [Stream [list [info nameofexecutable] $program [BuildInjector] $pattern]]]
}

# ---- Tcl 9 -----------------------------------------------------------------------

# Debian 12 has no Tcl 9, so the suites run in a Debian 13 that debootstrap puts
# into a folder, once, outside of the project.

set tcl9Packages {
    tcl9.0 tcl9.0-dev tcl9.0-thread critcl tcllib g++ make
    curl haproxy iproute2 jq ncat netcat-openbsd nginx openssl procps python3 socat strace
    util-linux wrk
}

# $1 the folder, the rest packages. Makes the folder when it is missing, and adds
# the packages that are. Runs in a mount name space that ends with it.
set tcl9SetUp {
    set -eu
    folder=$1
    shift
    if [ ! -d "$folder" ]; then
        rm -rf --one-file-system "$folder.new"
        debootstrap --variant=minbase trixie "$folder.new"
        printf '127.0.0.1 localhost\n::1 localhost\n' >"$folder.new/etc/hosts"
        mv "$folder.new" "$folder"
    fi
    installed=$(chroot "$folder" dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" || true)
    missing=
    for package in "$@"; do
        echo "$installed" | grep -qxF "installed $package" || missing="$missing $package"
    done
    [ -n "$missing" ] || exit 0
    mount -t proc proc "$folder/proc"
    mount --rbind /dev "$folder/dev"
    cp -L /etc/resolv.conf "$folder/etc/resolv.conf"
    export DEBIAN_FRONTEND=noninteractive
    chroot "$folder" apt-get -q update
    chroot "$folder" apt-get -q -y install --no-install-recommends $missing
}

# $1 the folder, $2 the project, $3 the suites. The same kind of name space: what is
# mounted here, with the copy of the project, goes away however this ends.
set tcl9Run {
    set -eu
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
    mkdir "$1/tmp/project"
    tar -c -C "$2" --exclude=./build --exclude=./lib --exclude=./.git . |
        tar -x -C "$1/tmp/project" --no-same-owner
    exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        tclsh9.0 /tmp/project/build.tcl test "$3"
}

proc Tcl9Folder {} {
    set cache [expr {[info exists ::env(XDG_CACHE_HOME)] ? $::env(XDG_CACHE_HOME) : "/var/cache"}]
    return [file join $cache uds-tcl9 trixie]
}

# The prefix of a command that may mount and chroot.
proc Privileged {} {
    set prefix {}
    if {[exec id -u] != 0} {
        if {[auto_execok sudo] eq {} || [catch {exec sudo -n true}]} {
            Skip "only root may set up Debian 13 in a folder, and there is no tclsh9.0 here"
        }
        set prefix {sudo -n}
    }
    if {[catch {exec {*}$prefix unshare --mount sh -c {mount -t tmpfs tmpfs /mnt}}]} {
        Skip "this machine does not let root mount, and there is no tclsh9.0 here"
    }
    return $prefix
}

proc HasTcl9 {} {
    return [expr {![catch {exec tclsh9.0 << {package require critcl}}]}]
}

proc Tcl9 {pattern} {
    if {[HasTcl9]} {
        set program [file join $::root build.tcl]
        return [CountsOf [Stream [list tclsh9.0 $program test $pattern]]]
    }
    set prefix [Privileged]
    set folder [Tcl9Folder]
    exec {*}$prefix mkdir -p [file dirname $folder]
    set log [file join $::root build tcl9.log]
    file mkdir [file dirname $log]
    puts "Debian 13 in $folder (a few minutes when it is new)"
    if {[catch {
        exec -ignorestderr {*}$prefix flock $folder.lock unshare --mount \
            sh -c $::tcl9SetUp sh $folder {*}$::tcl9Packages > $log 2>@1
    }]} {
        Fail "couldn't set up $folder:\n[fileutil::cat $log]"
    }
    return [CountsOf [Stream [list {*}$prefix unshare --mount \
        sh -c $::tcl9Run sh $folder $::root $pattern]]]
}

# ---- lint ------------------------------------------------------------------------

# Each check returns what it found, nothing when all is well.

set checks {}
proc check {name body} {
    lappend ::checks $name
    proc Check-$name {} $body
}

proc Lint {} {
    set counts [Counts 0 0 0]
    foreach name $::checks {
        set began [clock milliseconds]
        puts -nonewline [format "%-28s " $name]
        flush stdout
        try {
            set findings [string trim [Check-$name]]
            set result [expr {$findings eq {} ? "passed" : "failed"}]
        } trap {BUILD SKIPPED} findings {
            set result skipped
        }
        puts "$result  ([Seconds $began])"
        if {$findings ne {}} {
            puts $findings
        }
        dict incr counts $result
    }
    return $counts
}

proc CppFiles {pattern} {
    return [lsort [glob -directory [file join $::root cpp] $pattern]]
}

proc IncludeDirectory {} {
    return [tcl::pkgconfig get includedir,runtime]
}

# Runs a command on each of the files, on all processors: what it wrote if it failed.
# FILE in the command stands for the file.
proc ForEachFile {files command} {
    set arguments [list -P [exec nproc] -I FILE]
    if {[catch {exec xargs {*}$arguments {*}$command << [join $files \n] 2>@1} output]} {
        # Without what clang-tidy says of the system's headers.
        return [regsub -all -line {^(\d+ warnings? generated\.|child process .*)\n?} $output {}]
    }
    return {}
}

proc CompileWith {compiler args} {
    return [ForEachFile [CppFiles *.cpp] [list {*}[Tool $compiler] -std=c++17 -Wall -Wextra \
        -Wshadow -Wpedantic -Werror -fno-exceptions -fsyntax-only -I[IncludeDirectory] \
        {*}$args FILE]]
}

proc LinesMatching {files pattern} {
    set found {}
    foreach file $files {
        set number 0
        foreach line [split [fileutil::cat $file] \n] {
            incr number
            if {[regexp $pattern $line]} {
                lappend found "[fileutil::stripPath $::root $file]:$number: $line"
            }
        }
    }
    return $found
}

check format {
    set tool [Tool clang-format]
    if {![string match "*version 14.*" [exec {*}$tool --version]]} {
        Skip "other versions of clang-format than 14 lay code out differently"
    }
    set files [concat [CppFiles *.{h,cpp}] \
        [glob -directory [file join $::root bench programs] *.{h,cpp}]]
    if {[catch {exec {*}$tool --dry-run -Werror {*}$files 2>@1} output]} {
        return $output
    }
}

check g++ {
    CompileWith g++
}

check g++-portable {
    CompileWith g++ -DUDS_PORTABLE
}

check clang++ {
    CompileWith clang++
}

check clang++-portable {
    CompileWith clang++ -DUDS_PORTABLE
}

# Left out: what fights the style (Tcl's handles are pointers, small integers sit
# next to each other in system calls, and not every result of one matters).
check clang-tidy {
    set wanted {-* bugprone-* cert-* clang-analyzer-* misc-* performance-*
        readability-function-size -bugprone-easily-swappable-parameters
        -bugprone-narrowing-conversions -cert-err33-c -misc-misplaced-const -misc-no-recursion
        -misc-non-private-member-variables-in-classes -performance-no-int-to-ptr}
    set config {{CheckOptions: [{key: readability-function-size.LineThreshold, value: 60}]}}
    return [ForEachFile [CppFiles *.cpp] [list {*}[Tool clang-tidy] --quiet --warnings-as-errors=* \
        --checks=[join $wanted ,] --config=$config FILE -- \
        -std=c++17 -fno-exceptions -I[IncludeDirectory]]]
}

check layers {
    set found [LinesMatching [CppFiles posix_*] {#include\s*[<"](tcl|cmd_)}]
    lappend found {*}[LinesMatching [CppFiles tcl_*] {#include\s*"cmd_}]
    set above {unix_sockets|unix_process forkserver|socketserver forkserver socketserver}
    foreach {lower upper} $above {
        set files [glob -nocomplain -directory $::root "{[string map {| ,} $lower]}.tcl"]
        lappend found {*}[LinesMatching $files "package require ($upper)"]
    }
    return [join $found \n]
}

check manual-pages {
    set found {}
    foreach page [ManualPages] {
        foreach format {nroff html} {
            if {[catch {FormatPage $page $format warnings} message]} {
                set warnings [list $message]
            }
            lappend found {*}[lmap warning $warnings {string cat [file tail $page] ": " $warning}]
        }
    }
    return [join $found \n]
}

check test-ids {
    set found {}
    foreach file [glob -directory [file join $::root tests] *.test] {
        set seen {}
        foreach line [LinesMatching [list $file] {^\s*test [\w:-]+\.\d+ }] {
            regexp {test ([\w:-]+)\.(\d+) } $line -> group number
            if {[dict exists $seen $group] && [dict get $seen $group] >= $number} {
                lappend found $line
            }
            dict set seen $group $number
        }
    }
    return [join $found \n]
}

check tcl-layout {
    set sources [glob -directory $::root *.tcl forkserver/*.tcl socketserver/*.tcl \
        socketserver/*/*.tcl examples/*.tcl bench/*.tcl bench/servers/* bench/programs/*]
    set tests [glob -directory $::root tests/*.{tcl,test}]
    set found [LinesMatching $sources {\t|\s$|^.{101}}]
    lappend found {*}[LinesMatching $tests {\t|\s$}]
    return [join $found \n]
}

# ---- measurements ------------------------------------------------------------------

# The most important first.
proc Benches {} {
    set order {connections passing channels slow idle spawn reload http}
    set others [lmap file [lsort [glob -directory [file join $::root bench] *.tcl]] {
        set name [file rootname [file tail $file]]
        expr {$name in {common report} || $name in $order ? [continue] : $name}
    }]
    return [concat [lmap name $order {
        expr {[file exists [file join $::root bench $name.tcl]] ? $name : [continue]}
    }] $others]
}

# Runs a program, which writes its figures to build/bench/NAME.json.
proc Measure {name args} {
    set figures [file join $::root build bench $name.json]
    file mkdir [file dirname $figures]
    BenchProgram $name -json $figures {*}$args
}

proc BenchProgram {name args} {
    set program [file join $::root bench $name.tcl]
    if {[catch {
        exec [info nameofexecutable] $program {*}$args >@stdout 2>@stderr </dev/null
    }]} {
        Fail "bench/$name.tcl failed"
    }
}

# All of them, one after the other; `full` makes doc/benchmarks.md of it.
proc Bench {how} {
    file delete {*}[glob -nocomplain -directory [file join $::root build bench] *.json]
    set counts [Counts 0 0 0]
    foreach name [Benches] {
        set counts [AddCounts $counts [Step $name {
            Measure $name {*}[expr {$how eq "quick" ? {-quick 1} : {}}]
            Counts 1 0 0
        }]]
    }
    if {$how eq "full"} {
        set counts [AddCounts $counts [Step report {
            BenchProgram report
            Counts 1 0 0
        }]]
    }
    return $counts
}

# ---- manual pages ------------------------------------------------------------------

proc Version {} {
    set interp [interp create]
    try {
        $interp eval [list set dir $::root]
        $interp eval {source [file join $dir pkgIndex.tcl]}
        return [$interp eval {package versions unix_sockets}]
    } finally {
        interp delete $interp
    }
}

proc ManualPages {} {
    return [lsort [glob -nocomplain -directory [file join $::root man] *.man]]
}

proc FormatPage {page format {warningsName warnings}} {
    upvar 1 $warningsName warnings
    package require doctools
    set text [string map [list @VERSION@ [Version]] [fileutil::cat -encoding utf-8 $page]]
    set converter [doctools::new converter-$format -format $format -file $page]
    try {
        set formatted [$converter format $text]
        set warnings [$converter warnings]
    } finally {
        $converter destroy
    }
    return $formatted
}

# NAME.SECTION, as the page itself says: a package and a program may share a name.
proc PageName {page} {
    regexp {\[manpage_begin (\S+) (\w+) } [fileutil::cat -encoding utf-8 $page] -> name section
    return $name.$section
}

# Returns the nroff pages.
proc Doc {} {
    set directory [file join $::root build doc]
    file mkdir $directory
    return [lmap page [ManualPages] {
        set name [file join $directory [PageName $page]]
        fileutil::writeFile -encoding utf-8 $name.html [FormatPage $page html]
        fileutil::writeFile -encoding utf-8 $name [FormatPage $page nroff]
        set name
    }]
}

# ---- installing ----------------------------------------------------------------------

# The manifest lists what was installed, relative to the prefix; the folders that
# had to be made end with "/".
set manifest share/doc/socketserver/manifest

proc Prefix {arguments} {
    lassign $arguments option directory
    if {[llength $arguments] == 1 && [regexp {^--prefix=(.+)$} $option -> directory]} {
        return [file normalize $directory]
    }
    if {[llength $arguments] == 2 && $option eq "--prefix" && $directory ne {}} {
        return [file normalize $directory]
    }
    if {$arguments eq {}} {
        return /usr/local
    }
    Fail "bad arguments \"$arguments\": only --prefix DIR is known"
}

# A list of source, target, ...: targets are relative to the prefix.
proc InstalledFiles {} {
    set home lib/tcltk/socketserver[Version]
    set files {}
    foreach file [glob -directory $::root *.tcl LICENSE] {
        if {[file tail $file] ne "build.tcl"} {
            lappend files $file $home/[file tail $file]
        }
    }
    foreach file [glob -directory $::root lib/*/uds* forkserver/*.tcl \
        socketserver/*.tcl socketserver/*/*.tcl] {
        lappend files $file $home/[fileutil::stripPath $::root $file]
    }
    foreach file [glob -directory $::root bin/*] {
        lappend files $file bin/[file tail $file]
    }
    foreach file [Doc] {
        lappend files $file share/man/man[string index [file extension $file] 1]/[file tail $file]
    }
    foreach file [glob -nocomplain -directory $::root doc/* examples/* README.md CHANGES.md] {
        lappend files $file share/doc/socketserver/[fileutil::stripPath $::root $file]
    }
    return $files
}

# Makes the missing folders above a path and returns them.
proc MakeParents {prefix path} {
    set made {}
    for {set parent [file dirname $path]} {$parent ne "."} {set parent [file dirname $parent]} {
        if {![file exists [file join $prefix $parent]]} {
            lappend made $parent/
        }
    }
    file mkdir [file join $prefix [file dirname $path]]
    return $made
}

# Written down as it goes, so that uninstall can also clear up half an installation.
proc Install {prefix} {
    set files [InstalledFiles]
    if {[file exists [file join $prefix $::manifest]]} {
        Uninstall $prefix
    }
    set made [MakeParents $prefix $::manifest]
    set list [open [file join $prefix $::manifest] w]
    puts $list [join [list {*}$made $::manifest] \n]
    foreach {source target} $files {
        puts $list [join [list {*}[MakeParents $prefix $target] $target] \n]
        flush $list
        set path [file join $prefix $target]
        file copy -force $source $path
        file attributes $path -permissions [expr {[file executable $source] ? 0755 : 0644}]
    }
    close $list
    puts "installed [expr {[llength $files] / 2}] files in $prefix"
}

# A folder that holds something else by now stays.
proc Uninstall {prefix} {
    set path [file join $prefix $::manifest]
    if {![file exists $path]} {
        Fail "nothing is installed in $prefix: there is no $path"
    }
    # In this order a folder comes after what it holds.
    foreach item [lsort -decreasing [split [string trim [fileutil::cat $path]] \n]] {
        set item [file join $prefix $item]
        if {[file isdirectory $item]} {
            catch {file delete $item}
        } else {
            file delete $item
        }
    }
    puts "removed what was installed in $prefix"
}

# ---- the verbs -----------------------------------------------------------------------

set verbs {}
proc verb {name parameters usage summary body} {
    dict set ::verbs $name [list $parameters [string trimright "$name $usage"] $summary]
    proc Verb-$name $parameters $body
}

verb build {} "" "builds the library, if cpp/ has changed" {
    Build
}

verb test {{pattern {}}} "?PATTERN?" "all that CI needs; with a pattern these suites only" {
    if {$pattern ne {}} {
        Conclude test [Suites $pattern]
    }
    set counts [Step lint Lint]
    foreach {title command} {
        "suites" Suites
        "suites, portable build" Portable
        "suites, address and undefined behaviour sanitizers" Sanitize
        "suites, Tcl 9" Tcl9
    } {
        set counts [AddCounts $counts [Step $title [list $command *]]]
    }
    Conclude test $counts
}

verb lint {} "" "checks the sources without running them" {
    Conclude lint [Lint]
}

verb portable {{pattern *}} "?PATTERN?" "suites on a build without what only Linux has" {
    Conclude portable [Step portable {Portable $pattern}]
}

verb sanitize {{pattern *}} "?PATTERN?" "suites on a build with sanitizers" {
    Conclude sanitize [Step sanitize {Sanitize $pattern}]
}

verb test-tcl9 {{pattern *}} "?PATTERN?" "suites on Tcl 9, in a Debian 13 folder if need be" {
    Conclude test-tcl9 [Step test-tcl9 {Tcl9 $pattern}]
}

verb test-tcl-events {{pattern *}} "?PATTERN?" "Tcl's own event tests on our notifier" {
    Build
    set command [list [info nameofexecutable] [file join $::root tests tcl_events.tcl] $pattern]
    Conclude test-tcl-events [CountsOf [Stream $command]]
}

verb faults {{pattern *}} "?PATTERN?" "each system call fails in turn, see doc/reliability.md" {
    Conclude faults [Faults $pattern]
}

verb fuzz {{seconds 60}} "?SECONDS?" "runs each fuzz target for so long, see doc/fuzzing.md" {
    Conclude fuzz [Fuzz $seconds]
}

verb doc {} "" "formats the manual pages to build/doc" {
    puts [join [Doc] \n]
}

verb demo {} "" "shows the echo server at work" {
    Build
    exec [info nameofexecutable] [file join $::root examples demo.tcl] >@stdout 2>@stderr
}

verb bench args "?WHICH OPTIONS?" "measures: quick, full, or one program, see bench/README.md" {
    set arguments [lassign [expr {$args eq {} ? "quick" : $args}] which]
    if {$which ni [list quick full {*}[Benches]]} {
        Fail "there is no bench \"$which\": it is quick, full, or one of [join [Benches] {, }]"
    }
    if {$which in {quick full} && $arguments ne {}} {
        Fail "\"$which\" takes no options; a single program does"
    }
    if {$which eq "full" && [auto_execok gnuplot] eq {}} {
        Fail "there is no gnuplot here: ./bootstrap bench full installs what is needed"
    }
    Build
    if {$which in {quick full}} {
        Conclude bench [Bench $which]
    }
    Measure $which {*}$arguments
}

verb install args "?--prefix DIR?" "installs packages, manual pages and examples (/usr/local)" {
    set prefix [Prefix $args]
    Build
    Install $prefix
}

verb uninstall args "?--prefix DIR?" "removes what install put there" {
    Uninstall [Prefix $args]
}

verb clean {} "" "removes lib/ and build/" {
    file delete -force [file join $::root lib] [file join $::root build]
}

verb help {} "" "this list" {
    puts [Help]
}

proc Help {} {
    set lines {"usage: tclsh build.tcl VERB ?ARGUMENT ...?" ""}
    dict for {name entry} $::verbs {
        lassign $entry parameters usage summary
        lappend lines [format "  %-32s %s" $usage $summary]
    }
    return [join $lines \n]
}

proc Main {arguments} {
    set arguments [lassign $arguments name]
    if {$name eq {}} {
        set name help
    }
    if {![dict exists $::verbs $name]} {
        puts stderr "unknown verb \"$name\"\n[Help]"
        exit 2
    }
    lassign [dict get $::verbs $name] parameters usage
    if {$parameters ne "args" && [llength $arguments] > [llength $parameters]} {
        puts stderr "usage: tclsh build.tcl $usage"
        exit 2
    }
    try {
        Verb-$name {*}$arguments
    } on error {message options} {
        puts stderr "build.tcl $name: [Reason $message $options]"
        exit 1
    }
}

Main $argv
