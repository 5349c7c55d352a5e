# The suites on other builds of the same sources. Packages find their library beside them, so a
# variant's suites run in a copy of the sources with the variant's library in it,
# where other users may enter as well.

# What is linked with a tclsh for sanitizers.
# No vptr: that check takes a pipe each time, and suites run without descriptors.
set sanitizers {-fsanitize=address,undefined -fno-sanitize=vptr}
set runtimes [dict create sanitize $sanitizers tsan -fsanitize=thread]

# Compiler flags, linker flags, critcl's options.
set variants [dict create \
    portable {-DUDS_PORTABLE} \
    sanitize [list "-O1 -fno-sanitize-recover=undefined $sanitizers" $sanitizers {-debug symbols}] \
    tsan {{-O1 -fsanitize=thread} -fsanitize=thread {-debug symbols}}]

proc VariantPath {name file} {
    return [file join $::root build $name tcl$::major $file]
}

# Runs the script with the path of the copy in a variable.
proc WithVariant {name copyName script} {
    upvar 1 $copyName copy
    set built [VariantPath $name [file tail $::library]]
    BuildLibrary $built {*}[dict get $::variants $name]
    set copy [fileutil::maketempdir -prefix uds-$name-]
    file attributes $copy -permissions 0755 ;# for suites that run as another user
    file mkdir [file join $copy [file dirname $::library]]
    try {
        foreach item [glob -tails -directory $::root * .ci] {
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
        RunSuites $copy [list [info nameofexecutable]] [list $pattern]
    }
}

# The commands get the directory of the reports: one says with what options a
# sanitizer writes them there, the other what is in them.
proc Instrumented {name patterns optionsCmd findingsCmd} {
    WithVariant $name copy {
        set reports [file join $copy reports]
        file mkdir $reports
        file attributes $reports -permissions 01777 ;# suites also run as another user
        set shell [SanitizedShell $copy $name]
        set counts [RunSuites $copy $shell $patterns [$optionsCmd $reports]]
        AddCounts $counts [$findingsCmd $reports]
    }
}

proc Sanitize {pattern} {
    return [Instrumented sanitize [list $pattern] SanitizerOptions Findings]
}

# A tclsh that has the sanitizers' run-time: no LD_PRELOAD, which would also change
# the programs that the suites start. Without address randomization where that is
# allowed, because some kernels randomize more than the run-time can bear.
proc SanitizedShell {copy {name sanitize}} {
    set shell [VariantPath $name tclsh]
    if {![file exists $shell]} {
        set flags [list -I[IncludeDirectory] -x c - -ltcl[info tclversion]]
        exec gcc {*}[dict get $::runtimes $name] -g -o $shell.[pid] {*}$flags << {
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

# ---- threads ---------------------------------------------------------------------

# The suites with threads. Not those of the notifier and of fork servers: they want a process
# with one thread, and the run-time adds another to the notifier's of Tcl 8.6.
set threadSuites {threads channel connect connection listen passing queue unix_process}

proc Races {pattern} {
    set patterns [expr {$pattern eq {} ? $::threadSuites : [list $pattern]}]
    return [Instrumented tsan $patterns RaceOptions RaceFindings]
}

# A child that is forked from one of several threads may have threads again. Suites end
# processes by SIGSEGV.
proc RaceOptions {reports} {
    set log log_path=[file join $reports report]
    return [list TSAN_OPTIONS=$log:exitcode=0:die_after_fork=0:handle_segv=0]
}

# Tcl is not instrumented: what only its own code has a part in is not told from what
# the run-time cannot see there, and left out.
proc RaceFindings {reports} {
    set failed 0
    set others 0
    foreach file [glob -nocomplain -directory $reports *] {
        set border [string repeat = 18]
        foreach part [split [string map [list $border \0] [fileutil::cat $file]] \0] {
            if {[regexp {FATAL: ThreadSanitizer|uds::|uds\.so|/cpp/} $part]} {
                puts $part
                incr failed
            } else {
                incr others [regexp {WARNING: ThreadSanitizer} $part]
            }
        }
    }
    puts "thread sanitizer: $failed findings in our code; $others in Tcl's only"
    return [Counts [expr {$failed == 0}] $failed 0]
}

verb portable {{pattern *}} "?PATTERN?" "suites on a build without what only Linux has" {
    Conclude portable [Step portable {Portable $pattern}]
}

verb sanitize {{pattern *}} "?PATTERN?" "suites on a build with sanitizers" {
    Conclude sanitize [Step sanitize {Sanitize $pattern}]
}

verb tsan {{pattern {}}} "?PATTERN?" "suites that use threads, with the sanitizer of threads" {
    Conclude tsan [Step tsan {Races $pattern}]
}
