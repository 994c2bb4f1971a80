/* Guard regions (MADV_GUARD_INSTALL), as newer C libraries put below the stacks of threads. */
#include "subject.h"
#include <stdlib.h>
int main(void){
  char*p=mmap(0,1<<20,PROT_READ|PROT_WRITE,MAP_PRIVATE|MAP_ANONYMOUS,-1,0);
  memset(p,7,1<<20);
  CHECK(madvise(p+8192,8192,102)==0);
  save_point();
  catch_faults();
  CHECK_EQ(signal_of_write(p+8192),SIGSEGV);
  CHECK_EQ(signal_of_write(p+12288),SIGSEGV);
  CHECK(p[4096]==7&&p[16384]==7);
  CHECK(madvise(p+8192,8192,103)==0);
  CHECK(p[8192]==0);
  return ok();
}
