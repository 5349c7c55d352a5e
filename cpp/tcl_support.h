// What every file above the system calls needs of Tcl: references, errors,
// strings, callbacks.
#ifndef UDS_TCL_SUPPORT_H
#define UDS_TCL_SUPPORT_H

#include "posix_fd.h"

#include <tcl.h>

#include <initializer_list>
#include <string>
#include <vector>

#if TCL_MAJOR_VERSION < 9 && !defined(TCL_SIZE_MAX)
typedef int Tcl_Size;
#endif

namespace uds {

// Owns one reference to an object. The only place that counts references.
class ObjRef {
public:
    ObjRef() = default;
    explicit ObjRef(Tcl_Obj *object);
    ObjRef(const ObjRef &other) : ObjRef(other.object_) {}
    ObjRef(ObjRef &&other) noexcept : object_(other.object_) { other.object_ = nullptr; }
    ObjRef &operator=(ObjRef other) noexcept;
    ~ObjRef();
    Tcl_Obj *get() const { return object_; }
    explicit operator bool() const { return object_ != nullptr; }

private:
    Tcl_Obj *object_ = nullptr;
};

// Leaves the error in the interpreter, with errorCode; always TCL_ERROR.
int fail(Tcl_Interp *interp, const Error &error);

// The bytes that a system call gets for this string, and back.
std::string toSystem(Tcl_Obj *object);
Tcl_Obj *fromSystem(const std::string &bytes);
// In real UTF-8: Tcl writes NUL and characters beyond 16 bits its own way.
std::string toUtf8(Tcl_Obj *object);
Tcl_Obj *newString(const std::string &utf);
Tcl_Obj *newList(std::initializer_list<Tcl_Obj *> elements);
std::string text(Tcl_Obj *object);
bool isEmpty(Tcl_Obj *object);
// The bytes of a binary string; null, with an error left, if it has
// characters above 255.
const unsigned char *bytesOf(Tcl_Interp *interp, Tcl_Obj *object, Tcl_Size &size);

// Calls a command prefix with words appended, at global level, from the event
// loop. Errors go to the background error handler. Returns Tcl's code.
int callBack(Tcl_Interp *interp, const ObjRef &command, std::initializer_list<Tcl_Obj *> words);

} // namespace uds

#endif
