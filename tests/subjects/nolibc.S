/*
 * No C library, no thread-local storage, no vDSO use, no rseq: the smallest thing that is a process. Registers hold known
 * values across the save point; they are checked by adding them up.
 */
.globl _start
.data
value:  .quad 0x1122334455667788
.bss
line:   .skip 64
.section .rodata
save:   .ascii "save point\n"
done:   .ascii "ok\n"
bad:    .ascii "failed: a register or a word of data has changed\n"
.text
_start:
        mov     $1, %eax                /* write(1, save, 11) */
        mov     $1, %edi
        lea     save(%rip), %rsi
        mov     $11, %edx
        syscall
        movabs  $0xfeedfacecafebeef, %rbx
        mov     $12, %ebp
        mov     $13, %r8d
        mov     $14, %r9d
        mov     $15, %r10d
        mov     $16, %r12d
        mov     $17, %r13d
        mov     $18, %r14d
        movq    %rbx, %xmm9
        incq    value(%rip)
        push    %rbx
        xor     %eax, %eax              /* read(0, line, 64) */
        xor     %edi, %edi
        lea     line(%rip), %rsi
        mov     $64, %edx
        syscall
        test    %rax, %rax
        js      failed
        pop     %rcx
        cmp     %rbx, %rcx
        jne     failed
        movq    %xmm9, %rcx
        cmp     %rbx, %rcx
        jne     failed
        movabs  $0xfeedfacecafebeef, %rcx
        cmp     %rbx, %rcx
        jne     failed
        movabs  $0x1122334455667789, %rcx
        cmp     %rcx, value(%rip)
        jne     failed
        lea     (%rbp, %r8), %rax
        add     %r9, %rax
        add     %r10, %rax
        add     %r12, %rax
        add     %r13, %rax
        add     %r14, %rax
        cmp     $105, %rax
        jne     failed
        mov     $1, %eax
        mov     $1, %edi
        lea     done(%rip), %rsi
        mov     $3, %edx
        syscall
        xor     %edi, %edi
        jmp     leave
failed: mov     $1, %eax
        mov     $1, %edi
        lea     bad(%rip), %rsi
        mov     $49, %edx
        syscall
        mov     $1, %edi
leave:  mov     $231, %eax              /* exit_group */
        syscall
.section .note.GNU-stack,"",@progbits
